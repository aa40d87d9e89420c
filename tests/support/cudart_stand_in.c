/* The functions of the CUDA runtime that we call, on the host's memory.

   A stream that captures remembers its work, and a launch repeats it. `stand_in_*` are for tests:
   what is alive, which calls came in which order, and which call fails next. */
#include <stdlib.h>
#include <string.h>

enum { COPY, RECORD, CALL };
struct work {
    int kind;
    void *to;
    const void *from;
    size_t size;
    void (*call)(void);
};
struct graph {
    int count;
    struct work work[16];
};
static int alive = 0, integrated = 0, capturing = 0;
static long clock_us = 0;
static unsigned flags = 0;
static char calls[65536], failing[64];
static int failure = 0;
static struct graph captured;

int stand_in_alive(void) { return alive; }
unsigned stand_in_flags(void) { return flags; }
const char *stand_in_calls(void) { return calls; }
void stand_in_forget_calls(void) { calls[0] = 0; }
void stand_in_integrated(int yes) { integrated = yes; }
void stand_in_fail(const char *name, int status) {
    strncpy(failing, name, sizeof failing - 1);
    failure = status;
}
/* 0, or the status with which this call is to fail; by and by, the log of calls would be full */
static int called(const char *name) {
    if (strlen(calls) + strlen(name) + 2 < sizeof calls) strcat(strcat(calls, name), " ");
    return strcmp(name, failing) ? 0 : failure;
}
static int done(struct work work) {
    if (capturing) {
        if (captured.count == 16) return 999;
        captured.work[captured.count++] = work;
        return 0;
    }
    if (work.kind == COPY) memcpy(work.to, work.from, work.size);
    if (work.kind == RECORD) *(long *)work.to = clock_us += 1500;
    if (work.kind == CALL) work.call();
    return 0;
}
/* What an engine enqueues; its stand-in is in Python. */
int stand_in_enqueue(void (*call)(void)) {
    int status = called("enqueueV3");
    return status ? status : done((struct work){.kind = CALL, .call = call});
}

const char *cudaGetErrorString(int status) {
    return status == 2 ? "out of memory" : status == 900 ? "not permitted in a capture" : "bad";
}
int cudaGetLastError(void) { return called("cudaGetLastError"); }
int cudaSetDeviceFlags(unsigned given) {
    if (alive) return 708; /* cudaErrorSetOnActiveProcess, as of old: it comes first */
    flags = given;
    return 0;
}
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    int status = called("cudaDeviceGetAttribute");
    if (status) return status;
    if (device != 0) return 101;
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? integrated
           : attribute == 19 ? 1 : -1;
    return 0;
}
static int make(const char *name, void **handle, size_t size) {
    int status = called(name);
    if (status) return status;
    if (capturing) return 900; /* cudaErrorStreamCaptureUnsupported */
    if (size > ((size_t)1 << 40)) return 2;
    alive++;
    *handle = calloc(1, size);
    return 0;
}
static int end(const char *name, void *handle) {
    int status = called(name);
    alive--;
    free(handle);
    return status;
}
int cudaMalloc(void **memory, size_t size) { return make("cudaMalloc", memory, size); }
int cudaHostAlloc(void **memory, size_t size, unsigned kind) {
    return kind == 2 ? make("cudaHostAlloc", memory, size) : 1;
}
int cudaHostGetDevicePointer(void **device, void *host, unsigned none) {
    int status = called("cudaHostGetDevicePointer");
    *device = host;
    return status ? status : none != 0;
}
int cudaStreamCreate(void **stream) { return make("cudaStreamCreate", stream, 8); }
int cudaEventCreate(void **event) { return make("cudaEventCreate", event, sizeof(long)); }
int cudaFree(void *memory) { return end("cudaFree", memory); }
int cudaFreeHost(void *memory) { return end("cudaFreeHost", memory); }
int cudaStreamDestroy(void *stream) { return end("cudaStreamDestroy", stream); }
int cudaEventDestroy(void *event) { return end("cudaEventDestroy", event); }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    int status = called(kind == 1 ? "copy_in" : "copy_out");
    if (status) return status;
    if ((kind != 1 && kind != 2) || stream == NULL) return 21;
    return done((struct work){.kind = COPY, .to = to, .from = from, .size = size});
}
int cudaEventRecord(void *event, void *stream) {
    int status = called("cudaEventRecord");
    if (status) return status;
    if (capturing || stream == NULL) return 907; /* its time could not be read: no external event */
    return done((struct work){.kind = RECORD, .to = event});
}
int cudaEventRecordWithFlags(void *event, void *stream, unsigned external) {
    int status = called("cudaEventRecordWithFlags");
    if (status) return status;
    if (!capturing || external != 1 || stream == NULL) return 1; /* it is for captures only */
    return done((struct work){.kind = RECORD, .to = event});
}
int cudaStreamSynchronize(void *stream) {
    int status = called("cudaStreamSynchronize");
    return status ? status : capturing ? 900 : stream == NULL;
}
int cudaEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = (*(long *)end - *(long *)start) / 1000.0f;
    return 0;
}
int cudaStreamBeginCapture(void *stream, int mode) {
    int status = called("cudaStreamBeginCapture");
    if (status) return status;
    if (capturing || mode != 1 || stream == NULL) return 1;
    capturing = 1;
    captured.count = 0;
    return 0;
}
int cudaStreamEndCapture(void *stream, void **graph) {
    int status = called("cudaStreamEndCapture");
    if (!capturing || stream == NULL) return 903;
    capturing = 0;
    if (status) {
        *graph = NULL;
        return status;
    }
    status = make("graph", graph, sizeof captured);
    memcpy(*graph, &captured, sizeof captured);
    return status;
}
int cudaGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long none) {
    int status = none ? 1 : make("cudaGraphInstantiateWithFlags", executable, sizeof captured);
    if (!status) memcpy(*executable, graph, sizeof captured);
    return status;
}
int cudaGraphDestroy(void *graph) { return end("cudaGraphDestroy", graph); }
int cudaGraphExecDestroy(void *graph) { return end("cudaGraphExecDestroy", graph); }
int cudaGraphLaunch(void *executable, void *stream) {
    struct graph *graph = executable;
    int status = called("cudaGraphLaunch");
    if (status || capturing || stream == NULL) return status ? status : 900;
    for (int at = 0; at < graph->count; at++) done(graph->work[at]);
    return 0;
}
