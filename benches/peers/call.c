/*
 * One call from C, in turns: airssys_engine_call and Extism's extism_plugin_call, both with an echo.
 *
 *     call ECHO_COMPONENT.wasm ECHO_PLUGIN.wasm
 */
#define _POSIX_C_SOURCE 199309L

#include <airssys_wasm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The Python package of libextism has no header: what its C API documents, as far as it is used. */
typedef struct ExtismPlugin ExtismPlugin;
typedef struct ExtismFunction ExtismFunction;
const char *extism_version(void);
ExtismPlugin *extism_plugin_new(const uint8_t *wasm, uint64_t wasm_size, const ExtismFunction **functions,
                                uint64_t n_functions, bool with_wasi, char **errmsg);
int32_t extism_plugin_call(ExtismPlugin *plugin, const char *func_name, const uint8_t *data, uint64_t data_len);
const char *extism_plugin_error(ExtismPlugin *plugin);
uint64_t extism_plugin_output_length(ExtismPlugin *plugin);
const uint8_t *extism_plugin_output_data(ExtismPlugin *plugin);
void extism_plugin_free(ExtismPlugin *plugin);

#define ROUNDS 40
#define ROUND_NS 20e6
#define LARGEST ((size_t)1 << 20)

static airssys_engine_t *engine;
static uint64_t component;
static ExtismPlugin *plugin;
static uint8_t *payload;

/* Whether replies are compared with the payload: not while the clock runs. */
static bool checking;
/* Keeps the compiler from leaving out the look at a reply. */
static volatile uint8_t seen;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "no reason given");
    exit(1);
}

static void look_at(const char *whose, const uint8_t *reply, size_t reply_len, size_t len)
{
    if (reply_len != len) fail(whose, "the reply has another length");
    if (checking && memcmp(reply, payload, len) != 0) fail(whose, "the reply is not the message");
    seen = (uint8_t)(reply[0] ^ reply[len - 1]);
}

static void call_airssys(size_t len)
{
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;

    if (airssys_engine_call(engine, component, payload, len, NULL, &reply, &error) != AIRSSYS_OK)
        fail("airssys_engine_call", airssys_error_message(error));
    look_at("airssys", reply.data, reply.len, len);
    airssys_bytes_free(&reply);
}

static void call_extism(size_t len)
{
    if (extism_plugin_call(plugin, "echo", payload, len) != 0)
        fail("extism_plugin_call", extism_plugin_error(plugin));
    look_at("extism", extism_plugin_output_data(plugin), (size_t)extism_plugin_output_length(plugin), len);
}

/* Nanoseconds of one call, over `count` calls. */
static double time_calls(void (*call)(size_t), size_t len, unsigned long count)
{
    struct timespec start, end;
    unsigned long i;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (i = 0; i < count; i++) call(len);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / (double)count;
}

/* How many calls fill a round. */
static unsigned long calibrate(void (*call)(size_t), size_t len)
{
    unsigned long count = 1;

    while (time_calls(call, len, count) * (double)count < ROUND_NS) count *= 2;
    return count;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples)
{
    qsort(samples, ROUNDS, sizeof *samples, ascending);
    return samples[ROUNDS / 2];
}

static void compare(const char *label, size_t len)
{
    double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
    unsigned long our_count, their_count;
    int i;

    checking = true;
    call_airssys(len);
    call_extism(len);
    checking = false;
    our_count = calibrate(call_airssys, len);
    their_count = calibrate(call_extism, len);
    for (i = 0; i < ROUNDS; i++) {
        /* Whoever comes second may find warmer or colder caches: each does so every other time. */
        if (i % 2 == 0) ours[i] = time_calls(call_airssys, len, our_count);
        theirs[i] = time_calls(call_extism, len, their_count);
        if (i % 2 != 0) ours[i] = time_calls(call_airssys, len, our_count);
        ratios[i] = theirs[i] / ours[i];
    }
    printf("| %s | %.0f ns | %.0f ns | %.2f |\n", label, median(ours), median(theirs), median(ratios));
    fflush(stdout);
}

static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long size;

    if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) fail(path, "can not be read");
    rewind(file);
    bytes = malloc((size_t)size + 1);
    if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size) fail(path, "can not be read");
    fclose(file);
    *len = (size_t)size;
    return bytes;
}

int main(int argc, char **argv)
{
    airssys_error_t *error = NULL;
    char *message = NULL;
    uint8_t *wasm;
    size_t len, i;

    if (argc != 3) fail("usage", "call ECHO_COMPONENT.wasm ECHO_PLUGIN.wasm");
    payload = malloc(LARGEST);
    if (!payload) fail("payload", "no memory");
    for (i = 0; i < LARGEST; i++) payload[i] = (uint8_t)(i % 251);

    if (airssys_engine_new(NULL, &engine, &error) != AIRSSYS_OK ||
        airssys_engine_load_file(engine, "bench/echo/0", argv[1], NULL, &component, &error) != AIRSSYS_OK)
        fail("airssys", airssys_error_message(error));
    wasm = read_file(argv[2], &len);
    plugin = extism_plugin_new(wasm, len, NULL, 0, false, &message);
    if (!plugin) fail("extism_plugin_new", message);
    free(wasm);

    printf("airssys %s, libextism %s; medians of %d rounds in turns, ratio: extism / airssys\n\n", airssys_version(),
           extism_version(), ROUNDS);
    printf("| payload | airssys | extism | ratio |\n| --- | --- | --- | --- |\n");
    compare("16 B", 16);
    compare("1 KiB", 1 << 10);
    compare("64 KiB", 64 << 10);
    compare("1 MiB", LARGEST);
    /* A large message may leave something behind that later ones pay for. */
    compare("16 B, after 1 MiB", 16);

    extism_plugin_free(plugin);
    airssys_engine_free(engine);
    free(payload);
    return 0;
}
