package dpop

import "strings"

// maxURI is the longest URI, in bytes, that is looked at.
const maxURI = 2048

// normalize gives the one spelling of an absolute https or http URI: scheme and host in lower case, no default port, percent
// signs only where they are needed and with capitals, no dot segments, and a path (RFC 3986 §6.2.2 and §6.2.3; DP2). The
// query and the fragment are left out, and rest says whether there was any of them.
func normalize(raw string) (uri string, rest, ok bool) {
	if len(raw) > maxURI || !visible(raw) {
		return "", false, false
	}
	raw, fragment := cutAt(raw, '#')
	raw, query := cutAt(raw, '?')
	scheme, raw, found := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "https" && scheme != "http" {
		return "", false, false
	}
	authority, path := raw, "/"
	if slash := strings.IndexByte(raw, '/'); slash >= 0 {
		authority, path = raw[:slash], raw[slash:]
	}
	authority, ok = normalizeAuthority(authority, scheme)
	if !ok {
		return "", false, false
	}
	if path, ok = normalizePercent(path); !ok {
		return "", false, false
	}
	return scheme + "://" + authority + removeDots(path), query || fragment, true
}

// cutAt cuts s before the first c, and says whether there is one.
func cutAt(s string, c byte) (string, bool) {
	if at := strings.IndexByte(s, c); at >= 0 {
		return s[:at], true
	}
	return s, false
}

// visible reports whether s is ASCII without spaces and controls, and without what parsers of URIs disagree on.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '\\' || s[i] == '"' || s[i] == '<' || s[i] == '>' {
			return false
		}
	}
	return true
}

// normalizeAuthority takes a host and a port. A user name is refused: it has no place in a target URI, and it makes
// "https://as.example@evil.example" look like another host. So is a percent sign: no host of ours needs one.
func normalizeAuthority(authority, scheme string) (string, bool) {
	authority = strings.ToLower(authority)
	host, port := authority, ""
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		host, port = authority[:colon], authority[colon+1:]
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if host == "" || strings.ContainsAny(host, "@%") || strings.Trim(port, "0123456789") != "" ||
		!bracketed && strings.ContainsAny(host, "[]:") {
		return "", false
	}
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return host, true
	}
	return host + ":" + port, true
}

// normalizePercent decodes what needs no percent sign, and writes the rest with capitals. A percent sign without two hex
// digits is refused.
func normalizePercent(path string) (string, bool) {
	if strings.IndexByte(path, '%') < 0 {
		return path, true
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			b.WriteByte(path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		high, low := fromHex(path[i+1]), fromHex(path[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		if c := byte(high<<4 | low); unreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return b.String(), true
}

func fromHex(c byte) int { return strings.IndexByte("0123456789abcdef", c|0x20) }

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// removeDots removes "." and ".." from a path that begins with a slash (RFC 3986 §5.2.4).
func removeDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var out []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case "..":
			out = out[:max(len(out)-1, 0)]
		case ".":
		default:
			out = append(out, segment)
			continue
		}
		if last {
			out = append(out, "") // "/a/.." is the folder "/"
		}
	}
	return "/" + strings.Join(out, "/")
}
