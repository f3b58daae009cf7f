package config

import "reflect"

// Change is what differs between two configurations, by key path.
type Change struct {
	Reload  []string // takes effect at a reload
	Restart []string // needs a restart
}

// Compare says what a reload of next over old would change. It never shows a value.
func Compare[C Server](old, next C) Change {
	var c Change
	c.compare("", false, reflect.ValueOf(old), reflect.ValueOf(next))
	return c
}

// compare goes down to the keys. A structure that only one of the two has (listen.tls) counts as one key.
func (c *Change) compare(path string, reload bool, old, next reflect.Value) {
	switch {
	case old.Kind() == reflect.Pointer && !old.IsNil() && !next.IsNil():
		c.compare(path, reload, old.Elem(), next.Elem())
	case old.Kind() == reflect.Struct:
		for i := range old.NumField() {
			f := old.Type().Field(i)
			c.compare(join(path, f.Tag.Get("yaml")), f.Tag.Get("reload") == "true", old.Field(i), next.Field(i))
		}
	case reflect.DeepEqual(old.Interface(), next.Interface()):
	case reload:
		c.Reload = append(c.Reload, path)
	default:
		c.Restart = append(c.Restart, path)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
