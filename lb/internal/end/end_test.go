package end

import (
	"os"
	"strings"
	"testing"
)

// Whoever meets a word in a log finds it in the documents.
func TestEveryWordIsDocumented(t *testing.T) {
	for _, file := range []string{"../../../docs/troubleshooting.md", "../../../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for w := None + 1; w < count; w++ {
			if w.String() == "" || !strings.Contains(string(text), "`"+w.String()+"`") {
				t.Errorf("%s does not say what %q is", file, w)
			}
		}
	}
}
