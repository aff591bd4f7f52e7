// Greets, counts in its storage, and asks another component.
//
// Payloads are text: `greet NAME`, `count`, `ask ID QUESTION`, `answer` (the last one), `fail TEXT`.

import { request } from "airssys:core/host-messaging@1.0.0";
import { log } from "airssys:core/host-services@1.0.0";
import { get, set } from "airssys:core/storage@1.0.0";

// Milliseconds that a question may wait for its answer.
const PATIENCE = 10_000n;

const FAILED = "application/vnd.airssys.error+json";

const bytes = (text) => new TextEncoder().encode(text);
const text = (payload) => new TextDecoder().decode(payload);

let greeting = "Hello";
let answer = "";

// A handler that throws an object with `tag` and `val` returns that `wasm-error`.
const failure = (words) => ({ tag: "runtime-error", val: words });

function count() {
  const stored = get("count");
  return stored === undefined ? 0 : Number(text(stored));
}

function described(value) {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  return `${value.namespace}/${value.name}/${value.instance}`;
}

function answered(message) {
  const [command, rest] = split(message);
  switch (command) {
    case "greet": {
      const number = count() + 1;
      set("count", bytes(String(number)));
      log("info", `greeted ${rest}`, [["count", String(number)]]);
      return `${greeting}, ${rest}!`;
    }
    case "count":
      return String(count());
    case "ask": {
      const [id, question] = split(rest);
      const parts = id.split("/");
      if (parts.length !== 3 || question === "") throw failure("write: ask ID QUESTION");
      const [namespace, name, instance] = parts;
      request({ namespace, name, instance }, bytes(question), PATIENCE);
      return "asked";
    }
    case "answer":
      return answer;
    case "fail":
      throw failure(rest);
    default:
      throw failure(`unknown command: ${command}`);
  }
}

// The first word and what follows it.
function split(words) {
  const space = words.indexOf(" ");
  return space < 0 ? [words, ""] : [words.slice(0, space), words.slice(space + 1)];
}

export const componentLifecycle = {
  initialize(config) {
    greeting = new Map(config.envVars).get("GREETING") ?? "Hello";
  },

  handleMessage(message) {
    try {
      return bytes(answered(text(message.payload)));
    } catch (error) {
      if (error?.tag !== undefined) throw error;
      // A host function throws an error whose `payload` is its case.
      if (error?.payload?.tag === undefined) throw error;
      throw failure(`${error.payload.tag}: ${described(error.payload.val)}`);
    }
  },

  handleCallback(message) {
    answer = text(message.payload);
    if (message.metadata.contentType === FAILED) {
      const error = JSON.parse(answer);
      answer = `${error.code}: ${error.message}`;
    }
  },

  metadata() {
    return {
      name: "greeter",
      version: "0.1.0",
      description: "Greets, counts and asks",
      author: "The airssys-wasm authors",
      license: "MIT OR Apache-2.0",
      supportedOperations: ["greet", "count", "ask", "answer", "fail"],
      stateful: true,
    };
  },

  health() {
    return "healthy";
  },

  shutdown() {},
};
