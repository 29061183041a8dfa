//go:build race

package team

// raceDetector: the race detector is in this build, which makes tests ten times slower.
const raceDetector = true
