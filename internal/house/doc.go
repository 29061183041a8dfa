// Package house holds the house rules as tests.
package house
