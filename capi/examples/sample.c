// Samples four images of a pipeline and prints the first as letters.
//   cargo build --release --package ddim-capi
//   cc capi/examples/sample.c -Icapi/include -Ltarget/release -lddim_capi -o sample
//   LD_LIBRARY_PATH=target/release ./sample FOLDER
#include "ddim.h"
#include <stdio.h>
#include <stdlib.h>

static int told(void *user, uint32_t first_image, uint32_t step, uint32_t steps) {
    fprintf(stderr, "\rimages from %u: step %u of %u", first_image, step, steps);
    int *left = user;
    return --*left < 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [CALLS]\n", argv[0]);
        return 2;
    }
    DdimPipeline *pipeline = ddim_open(argv[1]);
    if (!pipeline) {
        fprintf(stderr, "%s\n", ddim_error());
        return 1;
    }
    size_t shape[3];
    if (ddim_image_shape(pipeline, shape) != DDIM_STATUS_OK) {
        fprintf(stderr, "%s\n", ddim_error());
        ddim_free(pipeline);
        return 1;
    }
    DdimRequest request = {.count = 4, .steps = 5, .seed = 1, .class_label = -1, .sampler = "ddim"};
    size_t length = request.count * shape[0] * shape[1] * shape[2];
    float *images = malloc(length * sizeof *images);
    // After so many calls the progress function stops.
    int left = argc > 2 ? atoi(argv[2]) : 1000000;
    DdimStatus status = ddim_sample(pipeline, &request, images, length, told, &left);
    fputc('\n', stderr);
    if (status == DDIM_STATUS_OK) {
        for (size_t y = 0; y < shape[0]; ++y) {
            for (size_t x = 0; x < shape[1]; ++x) {
                float number = images[(y * shape[1] + x) * shape[2]];
                putchar(number < -0.5f ? ' ' : number < 0 ? '.' : number < 0.5f ? 'o' : '#');
            }
            putchar('\n');
        }
    } else if (status == DDIM_STATUS_CANCELLED) {
        puts("cancelled");
    } else {
        fprintf(stderr, "%s\n", ddim_error());
    }
    free(images);
    ddim_free(pipeline);
    return status == DDIM_STATUS_ERROR;
}
