//go:build !unix

package seal

import (
	"io/fs"
	"os"
)

// belong: a new file has the owner that its folder gives.
func belong(*os.File, fs.FileInfo) error { return nil }
