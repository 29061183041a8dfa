//go:build !nosealing

package e2e_test

const unsealed = false
