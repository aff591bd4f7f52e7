// Package export_airssys_core_component_lifecycle greets, counts in its storage, and asks another component.
//
// Payloads are text: greet NAME, count, ask ID QUESTION, answer (the last one), fail TEXT.
package export_airssys_core_component_lifecycle

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	lifecycle "wit_component/airssys_core_component_lifecycle"
	errors "wit_component/airssys_core_errors"
	messaging "wit_component/airssys_core_host_messaging"
	services "wit_component/airssys_core_host_services"
	storage "wit_component/airssys_core_storage"
	types "wit_component/airssys_core_types"
)

// patience is how many milliseconds a question may wait for its answer.
const patience = 10_000

type (
	reply   = witTypes.Option[[]uint8]
	outcome = witTypes.Result[reply, errors.WasmError]
	unit    = witTypes.Unit
)

var greeting, answer string

// Go's collector asks for the time, which traps while the host passes in arguments. So it runs between
// two messages only, when enough has been allocated.
func init() {
	debug.SetGCPercent(-1)
}

const collectAfter = 4 << 20

var allocated int

func collect(payload int) {
	// Besides the payload, a few copies of it and small things.
	allocated += 4*payload + 1024
	if allocated > collectAfter {
		allocated = 0
		runtime.GC()
	}
}

// Initialize reads the greeting. What is kept must be copied: arguments live as long as the call.
func Initialize(config types.ComponentConfig) witTypes.Result[unit, errors.ComponentError] {
	greeting = "Hello"
	for _, pair := range config.EnvVars {
		if pair.F0 == "GREETING" {
			greeting = strings.Clone(pair.F1)
		}
	}
	return witTypes.Ok[unit, errors.ComponentError](unit{})
}

// HandleMessage answers a message.
func HandleMessage(message types.ComponentMessage) outcome {
	defer collect(len(message.Payload))
	text, err := answered(string(message.Payload))
	if err != nil {
		return witTypes.Err[reply, errors.WasmError](errors.MakeWasmErrorRuntimeError(err.Error()))
	}
	return witTypes.Ok[reply, errors.WasmError](witTypes.Some([]uint8(text)))
}

func answered(message string) (string, error) {
	command, rest, _ := strings.Cut(message, " ")
	switch command {
	case "greet":
		counted, err := count()
		if err != nil {
			return "", err
		}
		number := strconv.Itoa(counted + 1)
		if set := storage.Set("count", []uint8(number)); set.IsErr() {
			return "", fmt.Errorf("storage: case %d", set.Err().Tag())
		}
		pairs := []witTypes.Tuple2[string, string]{{F0: "count", F1: number}}
		services.Log(types.LogLevelInfo, "greeted "+rest, witTypes.Some(pairs))
		return greeting + ", " + rest + "!", nil
	case "count":
		counted, err := count()
		return strconv.Itoa(counted), err
	case "ask":
		id, question, _ := strings.Cut(rest, " ")
		parts := strings.Split(id, "/")
		if len(parts) != 3 {
			return "", fmt.Errorf("no id: %s", id)
		}
		target := types.ComponentId{Namespace: parts[0], Name: parts[1], Instance: parts[2]}
		if sent := messaging.Request(target, []uint8(question), patience); sent.IsErr() {
			if sent.Err().Tag() == errors.MessagingErrorTargetNotFound {
				return "", fmt.Errorf("target-not-found: %s", id)
			}
			return "", fmt.Errorf("messaging: case %d", sent.Err().Tag())
		}
		return "asked", nil
	case "answer":
		return answer, nil
	case "fail":
		return "", fmt.Errorf("%s", rest)
	}
	return "", fmt.Errorf("unknown command: %s", command)
}

func count() (int, error) {
	stored := storage.Get("count")
	if stored.IsErr() {
		return 0, fmt.Errorf("storage: case %d", stored.Err().Tag())
	}
	return strconv.Atoi(string(stored.Ok().SomeOr([]uint8("0"))))
}

// HandleCallback keeps the outcome of a question.
func HandleCallback(message types.ComponentMessage) witTypes.Result[unit, errors.WasmError] {
	defer collect(len(message.Payload))
	answer = string(message.Payload)
	if message.Metadata.ContentType.SomeOr("") == "application/vnd.airssys.error+json" {
		var failure struct{ Code, Message string }
		if json.Unmarshal(message.Payload, &failure) == nil {
			answer = failure.Code + ": " + failure.Message
		}
	}
	return witTypes.Ok[unit, errors.WasmError](unit{})
}

// Metadata says what the component is.
func Metadata() lifecycle.ComponentMetadata {
	return lifecycle.ComponentMetadata{
		Name:                "greeter",
		Version:             "0.1.0",
		Description:         "Greets, counts and asks",
		Author:              "The airssys-wasm authors",
		License:             "MIT OR Apache-2.0",
		SupportedOperations: []string{"greet", "count", "ask", "answer", "fail"},
		Stateful:            true,
	}
}

// Health says how the component is.
func Health() types.HealthStatus {
	return types.HealthStatusHealthy
}

// Shutdown has nothing to do.
func Shutdown() witTypes.Result[unit, errors.ComponentError] {
	return witTypes.Ok[unit, errors.ComponentError](unit{})
}
