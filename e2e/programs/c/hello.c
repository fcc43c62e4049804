// The sample program in C.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    printf("hello from c, wasi 0.1\n");
    for (int i = 1; i < argc; i++)
        printf("arg %d: %s\n", i, argv[i]);
    const char *greeting = getenv("GREETING");
    if (greeting)
        printf("greeting: %s\n", greeting);
    return 0;
}
