/*
 * An editor with plugins: the plugins call functions of the editor, each as far as it has rights.
 * Typed values are JSON; this program uses cJSON for it, and any other library would do.
 *
 *     editor COMPONENTS_DIR TEXT_FILE
 *
 * It prints the text as the plugins leave it.
 */
#include <airssys_wasm.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINES = 1000 };

/* The text. Its plugins run one after the other, so it needs no lock. */
struct buffer {
    char *lines[MAX_LINES];
    int count;
};

/* A plugin, and what it may do. */
struct plugin {
    const char *id;
    const char *file;
    const char *options;
};

static const struct plugin plugins[] = {
    /* Not trusted yet: it may look and not touch. */
    {"editor/new/0", "editor-trim.wasm",
     "{\"capabilities\": {\"host\": [\"editor:api/buffer#line-count\", \"editor:api/buffer#get-line\"]}}"},
    {"editor/trim/0", "editor-trim.wasm", "{\"capabilities\": {\"host\": [\"editor:api/buffer#*\"]}}"},
    {"editor/title/0", "editor-title.wasm", "{\"capabilities\": {\"host\": [\"editor:api/buffer#*\"]}}"},
    {"editor/count/0", "editor-count.wasm",
     "{\"capabilities\": {\"host\": [\"editor:api/buffer#line-count\", \"editor:api/buffer#get-line\","
     " \"editor:api/screen#show\"]}}"},
};

static char *copy_of(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    if (!copy) abort();
    return strcpy(copy, text);
}

/* Ends an answer with a text: JSON for AIRSSYS_OK, otherwise the words of an error. */
static void finish(airssys_writer_t *answer, airssys_status_t status, const char *text)
{
    airssys_writer_write(answer, (const uint8_t *)text, strlen(text));
    airssys_writer_finish(answer, status);
}

/* Answers with {"ok": value}, and owns the value. */
static void finish_ok(airssys_writer_t *answer, cJSON *value)
{
    cJSON *result = cJSON_CreateObject();
    char *text;

    cJSON_AddItemToObject(result, "ok", value);
    text = cJSON_PrintUnformatted(result);
    finish(answer, AIRSSYS_OK, text ? text : "");
    cJSON_free(text);
    cJSON_Delete(result);
}

/* The functions of editor:api/buffer. The library has checked the arguments. */
static void call_buffer(void *user_data, const airssys_function_call_t *call, airssys_writer_t *answer)
{
    struct buffer *buffer = user_data;
    cJSON *args = cJSON_ParseWithLength(call->args_json, call->args_len);
    cJSON *first = cJSON_GetArrayItem(args, 0);
    char text[32];

    if (strcmp(call->function, "line-count") == 0) {
        snprintf(text, sizeof text, "%d", buffer->count);
        finish(answer, AIRSSYS_OK, text);
    } else if (!cJSON_IsNumber(first) || first->valuedouble >= buffer->count) {
        /* Both functions have a result<..., string>, which gets this text. */
        finish(answer, AIRSSYS_ERROR_RUNTIME, "there is no such line");
    } else if (strcmp(call->function, "get-line") == 0) {
        finish_ok(answer, cJSON_CreateString(buffer->lines[first->valueint]));
    } else if (strcmp(call->function, "set-line") == 0) {
        free(buffer->lines[first->valueint]);
        buffer->lines[first->valueint] = copy_of(cJSON_GetStringValue(cJSON_GetArrayItem(args, 1)));
        finish_ok(answer, cJSON_CreateNull());
    } else {
        finish(answer, AIRSSYS_ERROR_EXPORT_NOT_FOUND, "the editor has no such function");
    }
    cJSON_Delete(args);
}

/* The function of editor:api/screen. */
static void call_screen(void *user_data, const airssys_function_call_t *call, airssys_writer_t *answer)
{
    cJSON *args = cJSON_ParseWithLength(call->args_json, call->args_len);

    (void)user_data;
    printf("[%s] %s\n", call->caller, cJSON_GetStringValue(cJSON_GetArrayItem(args, 0)));
    cJSON_Delete(args);
    airssys_writer_finish(answer, AIRSSYS_OK);
}

/* Prints {"ok": {"changed": [1], "message": "..."}} or {"err": "..."}. */
static void print_report(const char *id, const airssys_bytes_t *json)
{
    cJSON *report = cJSON_ParseWithLength((const char *)json->data, json->len);
    cJSON *ok = cJSON_GetObjectItem(report, "ok");
    cJSON *number;

    if (ok) {
        printf("%s: %s, lines", id, cJSON_GetStringValue(cJSON_GetObjectItem(ok, "message")));
        cJSON_ArrayForEach(number, cJSON_GetObjectItem(ok, "changed")) printf(" %d", number->valueint);
        printf("\n");
    } else {
        printf("%s: %s\n", id, cJSON_GetStringValue(cJSON_GetObjectItem(report, "err")));
    }
    cJSON_Delete(report);
}

static int read_lines(struct buffer *buffer, const char *path)
{
    char line[4096];
    FILE *file = fopen(path, "r");

    if (!file) {
        perror(path);
        return 0;
    }
    while (buffer->count < MAX_LINES && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        buffer->lines[buffer->count++] = copy_of(line);
    }
    fclose(file);
    return 1;
}

static airssys_status_t run(airssys_engine_t *engine, const char *directory, const struct plugin *plugin,
                            airssys_error_t **error)
{
    char path[4096];
    uint64_t handle;
    airssys_bytes_t report = {0};
    airssys_status_t status;

    snprintf(path, sizeof path, "%s/%s", directory, plugin->file);
    status = airssys_engine_load_file(engine, plugin->id, path, plugin->options, &handle, error);
    if (status) return status;
    status = airssys_engine_invoke(engine, handle, "editor:api/command#run", NULL, NULL, &report, error);
    if (status) return status;
    print_report(plugin->id, &report);
    airssys_bytes_free(&report);
    return AIRSSYS_OK;
}

int main(int argc, char **argv)
{
    struct buffer buffer = {{0}, 0};
    airssys_interface_t on_buffer = {sizeof on_buffer, &buffer, NULL, call_buffer};
    airssys_interface_t on_screen = {sizeof on_screen, NULL, NULL, call_screen};
    airssys_config_t *config = NULL;
    airssys_engine_t *engine = NULL;
    airssys_error_t *error = NULL;
    airssys_status_t status;
    size_t at;

    if (argc != 3) {
        fprintf(stderr, "usage: %s COMPONENTS_DIR TEXT_FILE\n", argv[0]);
        return 2;
    }
    if (!read_lines(&buffer, argv[2])) return 1;
    status = airssys_config_new(&config, &error);
    if (!status) status = airssys_config_add_interface(config, "editor:api/buffer@1.0.0", &on_buffer, &error);
    if (!status) status = airssys_config_add_interface(config, "editor:api/screen@1.0.0", &on_screen, &error);
    if (!status) status = airssys_engine_new(config, &engine, &error);
    for (at = 0; !status && at < sizeof plugins / sizeof plugins[0]; at++)
        status = run(engine, argv[1], &plugins[at], &error);
    if (status) fprintf(stderr, "%s\n", airssys_error_message(error));

    airssys_error_free(error);
    airssys_engine_free(engine);
    airssys_config_free(config);
    for (at = 0; at < (size_t)buffer.count; at++) {
        if (!status) puts(buffer.lines[at]);
        free(buffer.lines[at]);
    }
    return status != AIRSSYS_OK;
}
