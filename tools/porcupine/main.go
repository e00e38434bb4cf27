// Command porcupine says whether recorded calls of one task, made over several gateways, can be put in one order that fits
// their times. It reads a JSON document from the standard input, and prints "linearizable" or "not linearizable".
//
// The model is a task with a counter of its calls, and the set of systems that it reached, with a hard limit.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A call as its client saw it. Without an answer, the gateway may have counted the call, or not.
type call struct {
	Client int    `json:"client"`
	System string `json:"system"`
	Answer string `json:"answer"` // allowed, refused or unknown
	Number int    `json:"number"`
	Begun  int64  `json:"begun"`
	Ended  int64  `json:"ended"`
	doubt  bool   // a call without an answer had begun before this one ended
}

type history struct {
	Limit int    `json:"limit"`
	Calls []call `json:"calls"`
}

// The state of a task: how many calls it counted, and the systems, in order, with a comma after each.
type task struct {
	number  int
	systems string
}

func (t task) reach(system string) task {
	if t.has(system) {
		return task{t.number + 1, t.systems}
	}
	all := append(strings.Split(strings.TrimSuffix(t.systems, ","), ","), system)
	all = slices.DeleteFunc(all, func(name string) bool { return name == "" })
	slices.Sort(all)
	return task{t.number + 1, strings.Join(all, ",") + ","}
}

func (t task) has(system string) bool {
	return slices.Contains(strings.Split(t.systems, ","), system)
}

func (t task) size() int {
	return strings.Count(t.systems, ",")
}

func step(limit int) func(state, input, output any) []any {
	return func(state, input, _ any) []any {
		before, made := state.(task), input.(call)
		next := task{before.number + 1, before.systems}
		reached := before.reach(made.System)
		switch made.Answer {
		case "unknown":
			return []any{before, next, reached}
		case "allowed":
			if made.Number == next.number && reached.size() <= limit {
				return []any{reached}
			}
		case "refused":
			if made.Number == next.number && (made.doubt || reached.size() > limit) {
				return []any{next}
			}
		}
		return nil
	}
}

func main() {
	var found history
	if err := json.NewDecoder(os.Stdin).Decode(&found); err != nil {
		fmt.Fprintln(os.Stderr, "the history cannot be read:", err)
		os.Exit(2)
	}
	last := int64(0)
	for _, made := range found.Calls {
		last = max(last, made.Ended)
	}
	var operations []porcupine.Operation
	for number, made := range found.Calls {
		ended, client := made.Ended, made.Client
		if made.Answer == "unknown" {
			// It may be counted at any later time, so its client is one of its own.
			ended, client = last+1, len(found.Calls)+number
		}
		made.doubt = slices.ContainsFunc(found.Calls, func(other call) bool {
			return other.Answer == "unknown" && other.Begun < made.Ended
		})
		operations = append(operations, porcupine.Operation{ClientId: client, Input: made, Call: made.Begun, Return: ended})
	}
	model := porcupine.NondeterministicModel{
		Init:  func() []any { return []any{task{}} },
		Step:  step(found.Limit),
		Equal: func(one, other any) bool { return one == other },
	}
	switch porcupine.CheckOperationsTimeout(model.ToModel(), operations, time.Minute) {
	case porcupine.Ok:
		fmt.Println("linearizable")
	case porcupine.Illegal:
		fmt.Println("not linearizable")
	default:
		fmt.Fprintln(os.Stderr, "no answer within a minute")
		os.Exit(2)
	}
}
