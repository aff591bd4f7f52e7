// Greets, counts in its storage, and asks another component.
//
// Payloads are text: `greet NAME`, `count`, `ask ID QUESTION`, `answer` (the last one), `fail TEXT`.

import { request } from "airssys:core/host-messaging@1.0.0";
import { log } from "airssys:core/host-services@1.0.0";
import { get, set } from "airssys:core/storage@1.0.0";

/** Milliseconds that a question may wait for its answer. */
const PATIENCE = 10_000n;

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (text) => new TextEncoder().encode(text);

/** The error of a handler, in words for the sender. What a function throws is the error of its result. */
const failure = (words) => ({ tag: "runtime-error", val: words });

let greeting = "Hello";
let answer = "";

const count = () => Number(text(get("count") ?? bytes("0")));

function answered(message) {
  const [, command, rest] = /^(\S*) ?([^]*)$/.exec(message);
  switch (command) {
    case "greet": {
      const number = String(count() + 1);
      set("count", bytes(number));
      log("info", `greeted ${rest}`, [["count", number]]);
      return `${greeting}, ${rest}!`;
    }
    case "count":
      return String(count());
    case "ask": {
      const [, id, question] = /^(\S*) ?([^]*)$/.exec(rest);
      const [namespace, name, instance] = id.split("/");
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

export const componentLifecycle = {
  initialize(config) {
    greeting = new Map(config.envVars).get("GREETING") ?? "Hello";
  },

  handleMessage(message) {
    try {
      return bytes(answered(text(message.payload)));
    } catch (error) {
      // An error of the host has its case and value in `payload`.
      const { tag, val } = error.payload ?? error;
      if (tag === undefined) throw failure(String(error));
      throw tag === "runtime-error" ? failure(val) : failure(`${tag}: ${JSON.stringify(val)}`);
    }
  },

  handleCallback(message) {
    answer = text(message.payload);
    if (message.metadata.contentType === "application/vnd.airssys.error+json") {
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
