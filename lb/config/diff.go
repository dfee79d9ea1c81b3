package config

import (
	"reflect"
	"strings"
	"unicode"
)

// Changed names the keys in which two values of one part of a config differ, such as two Listeners: dotted where a key is
// of a table inside it, and a list of tables as a whole. A name of the part itself is a key too.
func Changed[T any](old, now T) []string {
	return changed(reflect.ValueOf(old), reflect.ValueOf(now), "")
}

func changed(old, now reflect.Value, path string) (keys []string) {
	for i := range old.NumField() {
		f := old.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		key := path + keyOf(f)
		a, b := old.Field(i), now.Field(i)
		if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
			a, b = a.Elem(), b.Elem()
		}
		switch {
		case f.Anonymous:
			keys = append(keys, changed(a, b, path)...)
		case a.Kind() == reflect.Struct:
			keys = append(keys, changed(a, b, key+".")...)
		case same(a, b):
		case len(keys) == 0 || keys[len(keys)-1] != key: // two fields may be of one key
			keys = append(keys, key)
		}
	}
	return keys
}

// same takes an empty list for the same as none.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Struct:
		if a.NumField() > 0 && a.Type().Field(0).IsExported() {
			return len(changed(a, b, "")) == 0
		}
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// keyOf is the key that fills a field: what its tag says, or its name in lower case with underscores.
func keyOf(f reflect.StructField) string {
	if key := f.Tag.Get("key"); key != "" {
		return key
	}
	var b strings.Builder
	name := []rune(f.Name)
	for i, r := range name {
		begins := i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(name[i-1]) || i+1 < len(name) && unicode.IsLower(name[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
