package dpop

import "testing"

// TestNormalize: DP2: one spelling of each URI (RFC 3986 §6.2.2 and §6.2.3).
func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"https://as.example/token", "https://as.example/token"},
		{"HTTPS://AS.Example:443/token", "https://as.example/token"},
		{"https://as.example:/token", "https://as.example/token"},
		{"http://as.example:80/", "http://as.example/"},
		{"http://as.example:443/", "http://as.example:443/"},
		{"https://as.example:80/", "https://as.example:80/"},
		{"https://as.example:8443/token", "https://as.example:8443/token"},
		{"https://as.example", "https://as.example/"},
		{"https://as.example?q", "https://as.example/"},
		{"https://as.example#f?q", "https://as.example/"},
		{"https://as.example/a?b/../c#d", "https://as.example/a"},
		{"https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"},
		{"https://[2001:db8::1]", "https://[2001:db8::1]/"},
		{"https://as.example/%7Euser/%2f%3a%C3%a9", "https://as.example/~user/%2F%3A%C3%A9"},
		{"https://as.example/TOKEN", "https://as.example/TOKEN"}, // a path has case
		{"https://as.example/a/./b/../c", "https://as.example/a/c"},
		{"https://as.example/../../a", "https://as.example/a"},
		{"https://as.example/a/..", "https://as.example/"},
		{"https://as.example/a/.", "https://as.example/a/"},
		{"https://as.example/%2e%2E/a/%2e/b", "https://as.example/a/b"}, // dots may hide
		{"https://as.example/.a/..b/c.", "https://as.example/.a/..b/c."},
		{"https://as.example//a//", "https://as.example//a//"},
		{"https://as.example/pkg.Service/Method", "https://as.example/pkg.Service/Method"}, // DP10
	} {
		got, _, ok := normalize(c.in)
		if !ok || got != c.want {
			t.Errorf("%s is %s, want %s", c.in, got, c.want)
		}
		if again, _, _ := normalize(got); again != got {
			t.Errorf("%s is then %s", got, again)
		}
	}
	for _, bad := range []string{
		"", "/token", "as.example/token", "https:/as.example", "https:as.example", "ftp://as.example/", "https://", "https:///token",
		"https://user@as.example/", "https://as.example@evil.example/", "https://as.example:44x/", "https://as%2eexample/", "https://a:b:c/",
		"https://as.example/%", "https://as.example/%2", "https://as.example/%zz", "https://as.example/a b", "https://as.example/\n",
		"https://as.example/ä", `https://as.example\@evil.example/`, "https://[::1/", "https://::1]/", "https://as.example/\x00",
	} {
		if got, _, ok := normalize(bad); ok {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
}
