// ddim for C. Made by cbindgen from capi/src: `REWRITE=1 cargo test --package ddim-capi --test header`.

#ifndef DDIM_H
#define DDIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// How a call ended.
typedef enum DdimStatus {
  // As asked.
  DDIM_STATUS_OK = 0,
  // It failed: `ddim_error` says why.
  DDIM_STATUS_ERROR = 1,
  // The progress function stopped it.
  DDIM_STATUS_CANCELLED = 2,
} DdimStatus;

// A model with its weights and noise schedule, on a device. One thread at a time may use it.
typedef struct DdimPipeline DdimPipeline;

// Which images to sample, and how.
typedef struct DdimRequest {
  // Number of images.
  uint32_t count;
  // Steps of the sampler; 0 for its usual number.
  uint32_t steps;
  // Keys the noise: the same seed gives the same images.
  uint64_t seed;
  // The class of all images; below 0 for each class in turn.
  int class_label;
  // Name of the sampler, as `ddim sample --list` prints it; null for the pipeline's own.
  const char *sampler;
} DdimRequest;

// Is told after each step how far the images from `first_image` on are. 0 goes on, anything else stops.
typedef int (*DdimProgress)(void *user, uint32_t first_image, uint32_t step, uint32_t steps);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What went wrong in the last call of this thread that failed; empty if none did. Valid until the next call of this
// thread.
const char *ddim_error(void);

// Opens a folder of diffusers, or a file of the projects that ddim reads, on the best device; null if that fails. `path`
// is a text; free the result by `ddim_free`.
struct DdimPipeline *ddim_open(const char *path);

// Frees a pipeline; null is no harm.
void ddim_free(struct DdimPipeline *pipeline);

// Height, width and channels of the images of a pipeline, written to `shape`. Fails where the model names no size.
enum DdimStatus ddim_image_shape(const struct DdimPipeline *pipeline,
                                 size_t *shape);

// Samples images to `images`, which has room for `length` numbers: count x height x width x channels of them,
// row-major, -1 to 1. `progress` may be null; it is given `user`.
enum DdimStatus ddim_sample(struct DdimPipeline *pipeline,
                            const struct DdimRequest *request,
                            float *images,
                            size_t length,
                            DdimProgress progress,
                            void *user);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DDIM_H */
