package rar

import "testing"

const (
	benchParent = `[{"type":"bounty","amount":100,"currency":"USD","repository":"acme/","locations":["https://executor.example"]}]`
	benchChild  = `[{"type":"bounty","amount":10,"currency":"USD","repository":"acme/site","locations":["https://executor.example"]}]`
	benchCall   = `{"repository":"acme/site","total":{"amount":9.99,"currency":"USD"}}`
)

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		standard(b)
	}
}

func BenchmarkParse(b *testing.B) {
	types, raw := standard(b), []byte(benchParent)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := types.Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWithin(b *testing.B) {
	types := standard(b)
	child, parent := parse(b, types, benchChild), parse(b, types, benchParent)
	b.ReportAllocs()
	for b.Loop() {
		if err := child.Within(parent); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCover(b *testing.B) {
	types, raw, args := standard(b), []byte(benchChild), []byte(benchCall)
	for _, tool := range []string{"payments.pay", "files.list"} { // governed, and not
		b.Run(tool, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := types.Cover(raw, tool, args); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
