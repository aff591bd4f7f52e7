/*
 * The smallest host: loads a component, sends it a message, prints the reply.
 *
 *     hello echo.wasm
 */
#include <airssys_wasm.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    airssys_engine_t *engine = NULL;
    airssys_error_t *error = NULL;
    airssys_bytes_t reply = {0};
    uint64_t echo = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s echo.wasm\n", argv[0]);
        return 2;
    }
    /* A component has only the rights that it is granted. This one needs none: it only replies. */
    if (airssys_engine_new(NULL, &engine, &error) == AIRSSYS_OK &&
        airssys_engine_load_file(engine, "app/echo/0", argv[1], NULL, &echo, &error) == AIRSSYS_OK &&
        airssys_engine_call(engine, echo, (const uint8_t *)"hello", 5, NULL, &reply, &error) == AIRSSYS_OK) {
        if (reply.data) printf("%.*s\n", (int)reply.len, (const char *)reply.data);
    } else {
        fprintf(stderr, "%s\n", airssys_error_message(error));
    }

    int failed = error != NULL;
    airssys_error_free(error);
    airssys_bytes_free(&reply);
    airssys_engine_free(engine);
    return failed;
}
