//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
)

// belong gives a file the owner, the group and the mode of another.
func belong(f *os.File, like fs.FileInfo) error {
	owner, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return fs.ErrInvalid
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if is, ok := mine.Sys().(*syscall.Stat_t); !ok || is.Uid != owner.Uid || is.Gid != owner.Gid {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(like.Mode().Perm())
}
