//go:build plantedbug_nosync

package store

const plantedNoSync = true
