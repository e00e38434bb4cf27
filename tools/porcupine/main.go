// Command porcupine says whether recorded calls of one task, made over several gateways, can be put in one order that fits
// their times. It reads a JSON document from the standard input, and prints "linearizable" or "not linearizable".
//
// The model is a task that numbers its calls, and has the set of systems that it reached, with a hard limit.
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

const unknown, allowed, refused = "unknown", "allowed", "refused"

// A call as its client saw it. A call without an answer is unknown: a gateway may have counted it at any time since.
type call struct {
	Client int    `json:"client"`
	System string `json:"system"`
	Answer string `json:"answer"`
	Number int    `json:"number"`
	Begun  int64  `json:"begun"`
	Ended  int64  `json:"ended"`
	// Systems that a gateway may have counted when it decided on this call: those of calls that were refused meanwhile, and
	// of earlier unknown calls.
	around []string
	// Earlier unknown calls. Each may have taken a number.
	lost int
}

type history struct {
	Limit int    `json:"limit"`
	Calls []call `json:"calls"`
}

// The state of a task: the number of its last call, how many numbers unknown calls took, and the systems in order.
type task struct {
	number, skipped int
	systems         string
}

func (t task) reach(systems ...string) task {
	all := append(strings.Fields(t.systems), systems...)
	slices.Sort(all)
	t.systems = strings.Join(slices.Compact(all), " ")
	return t
}

func (t task) size() int {
	return len(strings.Fields(t.systems))
}

func model(limit int, numbers map[int]bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return task{} },
		Step: func(state, input, _ any) (bool, any) {
			before, made := state.(task), input.(call)
			after := before
			after.number = made.Number
			for number := before.number + 1; number < made.Number; number++ {
				if numbers[number] {
					return false, before
				}
				after.skipped++
			}
			if made.Number <= before.number || after.skipped > made.lost {
				return false, before
			}
			reached := after.reach(made.System)
			if made.Answer == allowed {
				return reached.size() <= limit, reached
			}
			return reached.reach(made.around...).size() > limit, after
		},
	}
}

// Return the calls with an answer, each with what it may have met, and their numbers.
func prepare(calls []call) ([]porcupine.Operation, map[int]bool) {
	var operations []porcupine.Operation
	numbers := map[int]bool{}
	for _, made := range calls {
		if made.Answer == unknown {
			continue
		}
		for _, other := range calls {
			isEarlier, isMeanwhile := other.Begun < made.Ended, other.Ended > made.Begun
			if isEarlier && other.Answer == unknown {
				made.lost++
			}
			if isEarlier && (other.Answer == unknown || other.Answer == refused && isMeanwhile) {
				made.around = append(made.around, other.System)
			}
		}
		numbers[made.Number] = true
		operations = append(operations, porcupine.Operation{ClientId: made.Client, Input: made, Call: made.Begun, Return: made.Ended})
	}
	return operations, numbers
}

func main() {
	var found history
	if err := json.NewDecoder(os.Stdin).Decode(&found); err != nil {
		fmt.Fprintln(os.Stderr, "the history cannot be read:", err)
		os.Exit(2)
	}
	operations, numbers := prepare(found.Calls)
	switch porcupine.CheckOperationsTimeout(model(found.Limit, numbers), operations, time.Minute) {
	case porcupine.Ok:
		fmt.Println("linearizable")
	case porcupine.Illegal:
		fmt.Println("not linearizable")
	default:
		fmt.Fprintln(os.Stderr, "no answer within a minute")
		os.Exit(2)
	}
}
