// SPDX-License-Identifier: Apache-2.0

// dumps reads a goroutine dump and prints what panicparse and gostackparse make of it, as JSON.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/DataDog/gostackparse"
	"github.com/maruel/panicparse/v2/stack"
)

type goroutine struct {
	ID        int
	State     string
	Minutes   int
	Functions []string
	Files     []string
	Lines     []int
	CreatedBy string
}

func byGostackparse(text []byte) (all []goroutine, errs []string) {
	found, bad := gostackparse.Parse(bytes.NewReader(text))
	for _, e := range bad {
		errs = append(errs, e.Error())
	}
	for _, g := range found {
		one := goroutine{ID: g.ID, State: g.State, Minutes: int(g.Wait.Minutes())}
		for _, f := range g.Stack {
			one.Functions = append(one.Functions, f.Func)
			one.Files = append(one.Files, f.File)
			one.Lines = append(one.Lines, f.Line)
		}
		if g.CreatedBy != nil {
			one.CreatedBy = g.CreatedBy.Func
		}
		all = append(all, one)
	}
	return
}

func byPanicparse(text []byte) (all []goroutine, errs []string) {
	in := io.Reader(bytes.NewReader(text))
	snapshot, rest, err := stack.ScanSnapshot(in, io.Discard, &stack.Opts{})
	if err != nil && err != io.EOF {
		errs = append(errs, err.Error())
	}
	if snapshot == nil {
		return
	}
	for _, g := range snapshot.Goroutines {
		one := goroutine{ID: g.ID, State: g.State, Minutes: g.SleepMax}
		for _, c := range g.Stack.Calls {
			one.Functions = append(one.Functions, c.Func.Complete)
			one.Files = append(one.Files, c.RemoteSrcPath)
			one.Lines = append(one.Lines, c.Line)
		}
		for _, c := range g.CreatedBy.Calls {
			one.CreatedBy = c.Func.Complete
		}
		all = append(all, one)
	}
	if bytes.Contains(rest, []byte("\ngoroutine ")) {
		errs = append(errs, fmt.Sprintf("%d bytes with goroutines are left over", len(rest)))
	}
	return
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	result := map[string]any{}
	g, ge := byGostackparse(text)
	p, pe := byPanicparse(text)
	result["gostackparse"], result["gostackparse_errors"] = g, ge
	result["panicparse"], result["panicparse_errors"] = p, pe
	json.NewEncoder(os.Stdout).Encode(result)
}
