package config

import (
	"reflect"
	"strings"
	"sync"
	"unicode"
)

// Changed names the keys in which two values of one part of a config differ, such as two Listeners: dotted where a key is
// of a table inside it, and a list of tables as a whole. A name of the part itself is a key too.
func Changed[T any](old, now *T) []string {
	return changed(reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem())
}

// changed is called for each part of each config, thousands of times: what does not differ costs no allocation.
func changed(old, now reflect.Value) (keys []string) {
	for _, f := range fieldsOf(old.Type()) {
		a, b := old.Field(f.index), now.Field(f.index)
		if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
			a, b = a.Elem(), b.Elem()
		}
		switch {
		case f.embedded:
			keys = append(keys, changed(a, b)...)
		case a.Kind() == reflect.Struct:
			for _, key := range changed(a, b) {
				keys = append(keys, f.key+"."+key)
			}
		case same(a, b):
		case len(keys) == 0 || keys[len(keys)-1] != f.key: // two fields may be of one key
			keys = append(keys, f.key)
		}
	}
	return keys
}

// same takes an empty list for the same as none.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.String:
		return a.String() == b.String()
	case reflect.Int, reflect.Int64:
		return a.Int() == b.Int()
	case reflect.Bool:
		return a.Bool() == b.Bool()
	case reflect.Struct:
		if a.NumField() > 0 && a.Type().Field(0).IsExported() {
			return len(changed(a, b)) == 0
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

// field is one of a part's that a key fills.
type field struct {
	index    int
	key      string
	embedded bool
}

var fieldsByType sync.Map // reflect.Type -> []field

func fieldsOf(t reflect.Type) []field {
	if known, ok := fieldsByType.Load(t); ok {
		return known.([]field)
	}
	var list []field
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			list = append(list, field{i, keyOf(f), f.Anonymous})
		}
	}
	fieldsByType.Store(t, list)
	return list
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
