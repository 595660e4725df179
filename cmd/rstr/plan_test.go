package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// hostile are names that an image may hold: they erase a screen, start a line
// of their own, run backwards, end a JSON string, or are no text at all.
var hostile = []string{"\x1b[2J\x1b]0;owned\a", "a\nrefused: nothing\r", "\u202egpj.exe", "\"},{\"granted\":true", "\xff\xfe\x80", "\u009b31m", "\x7f", "a\tb", "grüß 𝄞"}

func hostileForecast() *forecast {
	f := &forecast{Signer: strings.Join(hostile, " "), Needs: []needLine{}, Lost: hostile, Host: hostile}
	for _, s := range hostile {
		f.Needs = append(f.Needs, needLine{Object: s, Demand: "file:/" + s + ":r", Why: s, Nearest: s})
		f.Steps = append(f.Steps, stepLine{Object: s, Text: s, Kind: s, Stage: s})
	}
	return f
}

// Nothing that an image says steers a terminal, begins a line or a column.
func TestPlanIsQuoted(t *testing.T) {
	var table bytes.Buffer
	if err := hostileForecast().write(&table); err != nil {
		t.Fatal(err)
	}
	for i, r := range table.String() {
		if r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e || r == 0xfffd) {
			t.Fatalf("%q in %q", r, table.String()[max(0, i-20):i+20])
		}
	}
	if n := strings.Count(table.String(), "\n"); n > 4+4*len(hostile) {
		t.Errorf("%d lines: %s", n, table.String())
	}
}

func TestPlanJSON(t *testing.T) {
	f := hostileForecast()
	var b bytes.Buffer
	if err := f.writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Bytes() {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("byte %#x in %q", c, b.String())
		}
	}
	var got forecast
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i := range f.Needs { // what is no text comes out as U+FFFD
		for _, s := range []*string{&f.Needs[i].Object, &f.Needs[i].Demand, &f.Needs[i].Why, &f.Needs[i].Nearest} {
			*s = strings.ToValidUTF8(strings.ReplaceAll(*s, "\xff\xfe\x80", "\ufffd\ufffd\ufffd"), "\ufffd")
		}
	}
	if !reflect.DeepEqual(got.Needs, f.Needs) {
		t.Errorf("%+v\nis not\n%+v", got.Needs, f.Needs)
	}
}
