// Greets, counts in its storage, and asks another component.
//
// Payloads are text: `greet NAME`, `count`, `ask ID QUESTION`, `answer` (the last one), `fail TEXT`.
//
// A function owns its arguments and frees them; what it returns is on the heap, and the bindings free it.

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "component.h"

// Shorter names for what the bindings derive from the WIT.
#define EXPORT(name) exports_airssys_core_component_lifecycle_##name
typedef EXPORT(component_message_t) message_t;
typedef EXPORT(wasm_error_t) wasm_error_t;
typedef EXPORT(component_error_t) component_error_t;

// Milliseconds that a question may wait for its answer.
enum { PATIENCE = 10000 };

static char *greeting;
static char *answer;

// Memory that is needed: without it the component ends, and the host restarts it.
static void *needed(void *memory) {
    if (!memory) abort();
    return memory;
}

// Formatted text on the heap.
__attribute__((format(printf, 1, 2))) static char *format(const char *pattern, ...) {
    va_list arguments, again;
    va_start(arguments, pattern);
    va_copy(again, arguments);
    size_t size = (size_t)vsnprintf(NULL, 0, pattern, arguments) + 1;
    char *text = needed(malloc(size));
    vsnprintf(text, size, pattern, again);
    va_end(again);
    va_end(arguments);
    return text;
}

// Bytes as text on the heap, with an end.
static char *text_of(const uint8_t *bytes, size_t len) {
    char *text = needed(malloc(len + 1));
    if (len) memcpy(text, bytes, len);
    text[len] = 0;
    return text;
}

// A string for the bindings that shares the memory of `text`.
static component_string_t shared(const char *text) {
    return (component_string_t){(uint8_t *)text, strlen(text)};
}

// Fails with `text`, which it takes.
static bool fail(wasm_error_t *error, char *text) {
    error->tag = AIRSSYS_CORE_ERRORS_WASM_ERROR_RUNTIME_ERROR;
    error->val.runtime_error = shared(text);
    return false;
}

static bool fail_storage(wasm_error_t *error, airssys_core_storage_storage_error_t *cause) {
    static const char *const names[] = {"not-found", "already-exists", "quota-exceeded", "invalid-key", "io-error"};
    // All cases with a text have it at the same place.
    bool has_text = cause->tag != AIRSSYS_CORE_ERRORS_STORAGE_ERROR_QUOTA_EXCEEDED;
    component_string_t text = has_text ? cause->val.io_error : shared("");
    fail(error, format("%s: %.*s", names[cause->tag], (int)text.len, (const char *)text.ptr));
    airssys_core_storage_storage_error_free(cause);
    return false;
}

static bool fail_messaging(wasm_error_t *error, airssys_core_host_messaging_messaging_error_t *cause) {
    switch (cause->tag) {
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_TARGET_NOT_FOUND: fail(error, format("target-not-found")); break;
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_QUEUE_FULL: fail(error, format("queue-full")); break;
    default: {
        component_string_t text = cause->val.delivery_failed;
        bool refused = cause->tag == AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_DELIVERY_FAILED;
        fail(error, format("%s: %.*s", refused ? "delivery-failed" : "invalid-message", (int)text.len,
                           (const char *)text.ptr));
    }
    }
    airssys_core_host_messaging_messaging_error_free(cause);
    return false;
}

static bool read_count(unsigned long long *count, wasm_error_t *error) {
    component_string_t key = shared("count");
    airssys_core_storage_option_storage_value_t stored;
    airssys_core_storage_storage_error_t cause;
    if (!airssys_core_storage_get(&key, &stored, &cause)) return fail_storage(error, &cause);
    *count = 0;
    if (stored.is_some) {
        char *digits = text_of(stored.val.ptr, stored.val.len);
        *count = strtoull(digits, NULL, 10);
        free(digits);
    }
    airssys_core_storage_option_storage_value_free(&stored);
    return true;
}

static bool greet(const char *name, char **reply, wasm_error_t *error) {
    unsigned long long count;
    if (!read_count(&count, error)) return false;
    char *digits = format("%llu", count + 1);
    component_string_t key = shared("count");
    airssys_core_storage_storage_value_t value = {(uint8_t *)digits, strlen(digits)};
    airssys_core_storage_storage_error_t cause;
    if (!airssys_core_storage_set(&key, &value, &cause)) {
        free(digits);
        return fail_storage(error, &cause);
    }
    char *record = format("greeted %s", name);
    component_string_t message = shared(record);
    component_tuple2_string_string_t pair = {shared("count"), shared(digits)};
    component_list_tuple2_string_string_t context = {&pair, 1};
    airssys_core_host_services_log(AIRSSYS_CORE_TYPES_LOG_LEVEL_INFO, &message, &context);
    free(record);
    free(digits);
    *reply = format("%s, %s!", greeting, name);
    return true;
}

static bool ask(char *rest, char **reply, wasm_error_t *error) {
    char *question = strchr(rest, ' ');
    char *name = strchr(rest, '/');
    char *instance = name ? strchr(name + 1, '/') : NULL;
    if (!question || !instance || instance > question) return fail(error, format("write: ask ID QUESTION"));
    *question++ = *name++ = *instance++ = 0;
    airssys_core_host_messaging_component_id_t target = {shared(rest), shared(name), shared(instance)};
    airssys_core_host_messaging_message_payload_t payload = {(uint8_t *)question, strlen(question)};
    airssys_core_host_messaging_correlation_id_t id;
    airssys_core_host_messaging_messaging_error_t cause;
    if (!airssys_core_host_messaging_request(&target, &payload, PATIENCE, &id, &cause)) return fail_messaging(error, &cause);
    airssys_core_host_messaging_correlation_id_free(&id);
    *reply = format("asked");
    return true;
}

static bool answered(char *text, char **reply, wasm_error_t *error) {
    char *rest = strchr(text, ' ');
    if (rest) *rest++ = 0;
    else rest = text + strlen(text);
    if (!strcmp(text, "greet")) return greet(rest, reply, error);
    if (!strcmp(text, "ask")) return ask(rest, reply, error);
    if (!strcmp(text, "fail")) return fail(error, format("%s", rest));
    if (!strcmp(text, "answer")) {
        *reply = format("%s", answer ? answer : "");
        return true;
    }
    if (!strcmp(text, "count")) {
        unsigned long long count;
        if (!read_count(&count, error)) return false;
        *reply = format("%llu", count);
        return true;
    }
    return fail(error, format("unknown command: %s", text));
}

bool EXPORT(initialize)(EXPORT(component_config_t) *config, component_error_t *error) {
    (void)error;
    for (size_t i = 0; i < config->env_vars.len; i++) {
        const component_tuple2_string_string_t *variable = &config->env_vars.ptr[i];
        if (variable->f0.len == 8 && !memcmp(variable->f0.ptr, "GREETING", 8))
            greeting = text_of(variable->f1.ptr, variable->f1.len);
    }
    if (!greeting) greeting = format("Hello");
    EXPORT(component_config_free)(config);
    return true;
}

bool EXPORT(handle_message)(message_t *message, EXPORT(option_message_payload_t) *ret, wasm_error_t *error) {
    char *text = text_of(message->payload.ptr, message->payload.len);
    EXPORT(component_message_free)(message);
    char *reply = NULL;
    bool succeeded = answered(text, &reply, error);
    free(text);
    if (!succeeded) return false;
    ret->is_some = true;
    ret->val.ptr = (uint8_t *)reply;
    ret->val.len = strlen(reply);
    return true;
}

// A failed request has JSON of its code and message; this component needs no more of it than the text.
bool EXPORT(handle_callback)(message_t *message, wasm_error_t *error) {
    (void)error;
    free(answer);
    answer = text_of(message->payload.ptr, message->payload.len);
    EXPORT(component_message_free)(message);
    return true;
}

void EXPORT(metadata)(EXPORT(component_metadata_t) *ret) {
    static const char *const operations[] = {"greet", "count", "ask", "answer", "fail"};
    component_string_dup(&ret->name, "greeter");
    component_string_dup(&ret->version, "0.1.0");
    component_string_dup(&ret->description, "Greets, counts and asks");
    component_string_dup(&ret->author, "The airssys-wasm authors");
    component_string_dup(&ret->license, "MIT OR Apache-2.0");
    ret->supported_operations.len = 5;
    ret->supported_operations.ptr = needed(malloc(5 * sizeof(component_string_t)));
    for (size_t i = 0; i < 5; i++) component_string_dup(&ret->supported_operations.ptr[i], operations[i]);
    ret->stateful = true;
}

EXPORT(health_status_t) EXPORT(health)(void) { return AIRSSYS_CORE_TYPES_HEALTH_STATUS_HEALTHY; }

bool EXPORT(shutdown)(component_error_t *error) {
    (void)error;
    return true;
}
