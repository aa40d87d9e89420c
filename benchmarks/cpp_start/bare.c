/* The least that a C program does with ONNX Runtime: open an engine and run it once on grey pixels.

   bare ENGINE HEIGHT WIDTH CLASSES, on one thread; it prints the highest logit's index. */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi* api;

static void check(OrtStatus* status) {
    if (status != NULL) {
        fprintf(stderr, "%s\n", api->GetErrorMessage(status));
        exit(1);
    }
}

int main(int count, char** words) {
    if (count != 5) {
        return 2;
    }
    const int64_t shape[] = {1, atoi(words[2]), atoi(words[3]), 3};
    const size_t bytes = (size_t)(shape[1] * shape[2] * 3);
    const int classes = atoi(words[4]);
    api = OrtGetApiBase()->GetApi(20);
    OrtEnv* environment;
    OrtSessionOptions* options;
    OrtSession* session;
    OrtMemoryInfo* memory;
    OrtAllocator* allocator;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bare", &environment));
    check(api->CreateSessionOptions(&options));
    check(api->SetIntraOpNumThreads(options, 1));
    check(api->CreateSession(environment, words[1], options, &session));
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    check(api->GetAllocatorWithDefaultOptions(&allocator));
    char *input, *output;
    check(api->SessionGetInputName(session, 0, allocator, &input));
    check(api->SessionGetOutputName(session, 0, allocator, &output));
    unsigned char* pixels = malloc(bytes);
    memset(pixels, 128, bytes);
    OrtValue *image, *result = NULL;
    check(api->CreateTensorWithDataAsOrtValue(memory, pixels, bytes, shape, 4,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &image));
    const char* const inputs[] = {input};
    const char* const outputs[] = {output};
    const OrtValue* const given[] = {image};
    check(api->Run(session, NULL, inputs, given, 1, outputs, 1, &result));
    float* logits;
    check(api->GetTensorMutableData(result, (void**)&logits));
    int best = 0;
    for (int label = 1; label < classes; ++label) {
        best = logits[label] > logits[best] ? label : best;
    }
    printf("%d\n", best);
    api->ReleaseSession(session);
    api->ReleaseEnv(environment);
    return 0;
}
