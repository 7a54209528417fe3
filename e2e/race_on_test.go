//go:build race

package e2e

// raceDetector says whether the test was built with the race detector, which makes hashing gigabytes take minutes.
const raceDetector = true
