//go:build unix && !linux

package dev

import "syscall"

// ownGroup makes a child lead its own group. Only Linux can also make it die with us.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
