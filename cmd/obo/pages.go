package main

import "github.com/onbehalf/obo/cmd/obo/internal/explain"

// listFlags are those of a command that lists.
type listFlags struct {
	Limit int `placeholder:"N" help:"At most so many. Default: all."`
}

// pageSize is how much is asked for at once.
const pageSize = 1000

// every reads a list to its end, or to its limit, page by page.
func every[T any](c listFlags, read func(size int32, token string) (items []T, next string, err error)) ([]T, error) {
	if c.Limit < 0 {
		return nil, explain.Misuse("cannot list", "--limit is less than nothing", "say how many, or leave it out for all")
	}
	var all []T
	for token := ""; ; {
		size := pageSize
		if c.Limit > 0 {
			size = min(size, c.Limit-len(all))
		}
		items, next, err := read(int32(size), token)
		if err != nil {
			return nil, err
		}
		all, token = append(all, items...), next
		if token == "" || c.Limit > 0 && len(all) >= c.Limit {
			return all, nil
		}
	}
}
