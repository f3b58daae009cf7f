package orgdir

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
)

// TestKeep: what is in force and not in the files stays, by name; what both have is as the files say; administrators and limits
// are always the files'.
func TestKeep(t *testing.T) {
	t.Parallel()
	now := `{"org":"acme","limits":{"max_depth":3},"agents":[{"name":"old","owner":"x"},{"name":"both","owner":"x"}],
		"resources":[{"uri":"https://old"}],"policies":[{"name":"old.cedar","text":"a"}],"administrators":[{"role":"auditor","subject":"gone"}]}`
	files := `{"org":"acme","agents":[{"name":"both","owner":"y"},{"name":"new"}],"policies":[{"name":"new.cedar","text":"b"}]}`
	got, kept, err := Keep([]byte(now), []byte(files))
	if err != nil || !slices.Equal(kept, []string{"agents/old", "policies/old.cedar", "resources/https://old"}) {
		t.Fatalf("kept %q, %v", kept, err)
	}
	want := `{"org":"acme","agents":[{"name":"both","owner":"y"},{"name":"new"},{"name":"old","owner":"x"}],
		"policies":[{"name":"new.cedar","text":"b"},{"name":"old.cedar","text":"a"}],"resources":[{"uri":"https://old"}]}`
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got %s", got)
	}
	if again, kept, err := Keep(nil, []byte(files)); err != nil || string(again) != files || kept != nil {
		t.Errorf("a new org: %s, %q, %v", again, kept, err)
	}
	if _, _, err := Keep([]byte(now), []byte(`{"agents":[{}]}`)); err == nil {
		t.Error("an entry without a name was taken")
	}
}
