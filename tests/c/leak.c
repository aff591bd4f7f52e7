/* Not a test: leaks every kind of object. `run.sh asan` expects the leaks to be reported. */
#include "host.h"

int main(void)
{
    airssys_engine_t *engine = new_engine();
    uint64_t echo = load(engine, "echo");
    airssys_bytes_t reply = {0};
    airssys_error_t *error = NULL;
    call(engine, echo, "a reply that nobody frees", &reply, NULL);
    call(engine, 0, "an error that nobody frees", &reply, &error);
    memset(&reply, 0, sizeof reply);
    error = NULL;
    airssys_engine_free(engine);
    return 0;
}
