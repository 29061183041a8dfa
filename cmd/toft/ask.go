package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ask asks for a secret on the terminal, whatever stdin and stdout are, and does
// not show what is typed. stty is on every system that has /dev/tty.
func ask(question string) (answer string, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("there is no terminal to ask on")
	}
	defer tty.Close()
	echo := func(how string) error {
		c := exec.Command("stty", how)
		c.Stdin = tty
		return c.Run()
	}
	if err := echo("-echo"); err != nil {
		return "", fmt.Errorf("the terminal would show what is typed: %w", err)
	}
	defer func() { err = errors.Join(err, echo("echo")) }()
	if _, err := tty.WriteString(question); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(tty).ReadString('\n')
	_, _ = tty.WriteString("\n") // the one that was typed was not shown
	return strings.TrimRight(line, "\r\n"), err
}
