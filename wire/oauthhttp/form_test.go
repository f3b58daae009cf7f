package oauthhttp

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParseForm(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x=&", maxParameters+1)
	cases := []struct {
		name, body string
		ok         bool
	}{
		{"empty", "", true},
		{"TE3 empty values are absent", "code=&scope=&grant_type=x", true},
		{"TE4 unknown parameters are read over", "options=%7B%22userProject%22%3A%22x%22%7D", true},
		{"TE5 resource and audience repeat", "resource=a&resource=b&audience=c&audience=d", true},
		{"TE5 grant_type twice", "grant_type=a&grant_type=a", false},
		{"TE5 subject_token twice", "subject_token=a&subject_token=b", false},
		{"TE5 scope twice, once empty", "scope=&scope=a", false},
		{"TE5 client_id twice", "client_id=a&client_id=b", false},
		{"TE5 twice by another spelling", "scope=a&%73cope=b", false},
		{"TE5 unknown twice", "x=1&x=2", false},
		{"a bare semicolon", "scope=a;scope=b", false},
		{"a bad escape", "scope=%zz", false},
		{"an escape cut off", "scope=%4", false},
		{"invalid UTF-8", "scope=%ff", false},
		{"invalid UTF-8 in a name", "%c3%28=x", false},
		{"too many parameters", long, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parseForm(c.body); (err == nil) != c.ok {
				t.Errorf("parseForm(%.60q): %v", c.body, err)
			}
		})
	}
}

func TestFormValues(t *testing.T) {
	t.Parallel()
	f, err := parseForm("scope=a+b%20c&resource=https%3A%2F%2Fx%2F&resource=&resource=y&actor_token=&=v&novalue")
	if err != nil {
		t.Fatal(err)
	}
	if f.get("scope") != "a b c" || !slices.Equal(f.resource, []string{"https://x/", "y"}) {
		t.Errorf("got %+v", f)
	}
	if _, there := f.single["actor_token"]; there {
		t.Error("TE3: an empty value is there")
	}
}

// TestFormRoundTrip: what an honest client encodes is what we read.
func TestFormRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := url.Values{}
		for _, name := range known {
			if rapid.Bool().Draw(t, name) {
				values.Set(name, rapid.StringN(1, 40, -1).Draw(t, "value"))
			}
		}
		values["resource"] = rapid.SliceOfN(rapid.StringN(1, 20, -1), 0, 5).Draw(t, "resource")
		f, err := parseForm(values.Encode())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range known {
			if f.get(name) != values.Get(name) {
				t.Fatalf("%s: got %q, want %q", name, f.get(name), values.Get(name))
			}
		}
		if !slices.Equal(f.resource, values["resource"]) {
			t.Fatalf("resource: got %q, want %q", f.resource, values["resource"])
		}
	})
}

// FuzzForm: nothing that a stranger sends is read otherwise than the standard library reads it, or it is refused.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=eyJ.e30.x&resource=https://a&resource=https://b",
		"scope=a+b&scope=c", "scope=&code=&client_id=%61", "a;b=c", "%=%", "&&&=&=", "audience=\x00\xff", "x=%F0%9F%98%80",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := parseForm(body)
		if err != nil {
			if len(clean(err.Error())) == 0 || clean(err.Error()) != err.Error() {
				t.Errorf("the refusal %q quotes what it should not (TE8)", err)
			}
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("accepted %q, which net/url refuses: %v", body, err)
		}
		for name, value := range got.single {
			if len(want[name]) != 1 || want[name][0] != value || value == "" || !utf8.ValidString(value) {
				t.Errorf("%s: read %q, net/url reads %q", name, value, want[name])
			}
		}
		for name, values := range map[string][]string{"resource": got.resource, "audience": got.audience} {
			if !slices.Equal(values, slices.DeleteFunc(want[name], func(v string) bool { return v == "" })) {
				t.Errorf("%s: read %q, net/url reads %q", name, values, want[name])
			}
		}
	})
}
