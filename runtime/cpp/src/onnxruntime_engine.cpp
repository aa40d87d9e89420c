// Session options are those of `tmkd_deploy/runtime/onnxruntime_session.py`, so what was measured
// is what runs.
#include "onnxruntime_engine.h"

#include <onnxruntime_c_api.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <thread>

#include "onnx_check.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

constexpr std::uint32_t kApiVersion = 20;  // of ONNX Runtime 1.20, the lowest that is supported

/// Calls a release function of the API when its object goes out of scope.
template <typename Type>
class Handle {
  public:
    using Release = void(ORT_API_CALL*)(Type*);

    explicit Handle(Release release) : release_(release) {}
    ~Handle() {
        if (pointer_ != nullptr) {
            release_(pointer_);
        }
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;

    Type* get() const { return pointer_; }
    Type** out() { return &pointer_; }

  private:
    Release release_;
    Type* pointer_ = nullptr;
};

/// A failure of ONNX Runtime in its own words, without control codes.
class Failure : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

const OrtApi& api_of(const Bundle& bundle) {
    const OrtApi* api = OrtGetApiBase()->GetApi(kApiVersion);
    if (api == nullptr) {
        throw RuntimeMissingError(std::string("This bundle needs ONNX Runtime 1.20 or newer; this "
                                              "is ") +
                                      OrtGetApiBase()->GetVersionString() + ".",
                                  "Install a newer ONNX Runtime.", bundle.path);
    }
    return *api;
}

int available_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return std::max(1, CPU_COUNT(&set));
    }
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

struct Tensor {
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::vector<std::int64_t> shape;  // -1 where it is not fixed
};

class OnnxRuntimeEngine : public Engine {
  public:
    OnnxRuntimeEngine(const Bundle& bundle, Bytes model, int threads)
        : api_(api_of(bundle)),
          path_(bundle.path),
          shape_{1, bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width, 3},
          classes_(bundle.manifest.class_names.size()),
          environment_(api_.ReleaseEnv),
          session_(api_.ReleaseSession),
          memory_(api_.ReleaseMemoryInfo) {
        try {
            refuse_unsafe(model);
            open(model, threads);
            match();
        } catch (const Failure& error) {
            throw broken(path_,
                         std::string("ONNX Runtime cannot open its engine (") + error.what() + ")");
        } catch (const Unfit& error) {
            throw broken(path_, error.what());
        }
    }

    std::vector<float> logits(const std::vector<std::uint8_t>& pixels) override {
        try {
            return run(pixels);
        } catch (const Failure& error) {
            throw broken(path_, std::string("its engine fails (") + error.what() + ")");
        } catch (const Unfit& error) {
            throw broken(path_, error.what());
        }
    }

  private:
    void check(OrtStatus* status) const {
        if (status == nullptr) {
            return;
        }
        std::string words = api_.GetErrorMessage(status);
        api_.ReleaseStatus(status);
        words = words.substr(0, std::min(words.find('\n'), std::size_t{300}));
        std::replace_if(
            words.begin(), words.end(), [](char sign) { return sign < 0x20 || sign > 0x7e; }, '?');
        throw Failure(words);
    }

    void open(Bytes model, int threads) {
        Handle<OrtSessionOptions> options(api_.ReleaseSessionOptions);
        check(api_.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "tmkd", environment_.out()));
        check(api_.CreateSessionOptions(options.out()));
        check(api_.SetSessionGraphOptimizationLevel(options.get(), ORT_ENABLE_ALL));
        check(api_.SetSessionExecutionMode(options.get(), ORT_SEQUENTIAL));
        check(api_.SetIntraOpNumThreads(options.get(), threads));
        check(api_.SetInterOpNumThreads(options.get(), 1));
        check(api_.SetSessionLogSeverityLevel(options.get(), ORT_LOGGING_LEVEL_ERROR));
        const auto configure = [&](const char* key, const char* value) {
            check(api_.AddSessionConfigEntry(options.get(), key, value));
        };
        // otherwise the bytes may turn out to be of ONNX Runtime's own format, which is not checked
        configure("session.load_model_format", "ONNX");
        // spinning threads would take CPU time from other programs on a small device
        configure("session.intra_op.allow_spinning", "0");
        if (needs_precise_int8()) {
            configure("session.x64quantprecision", "1");
        }
        check(api_.CreateSessionFromArray(environment_.get(), model.data, model.size, options.get(),
                                          session_.out()));
        check(api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, memory_.out()));
    }

    /// Compares the session's input and output with the manifest, and remembers their names.
    void match() {
        std::size_t inputs = 0, outputs = 0;
        check(api_.SessionGetInputCount(session_.get(), &inputs));
        check(api_.SessionGetOutputCount(session_.get(), &outputs));
        bool fits = inputs == 1 && outputs == 1;
        if (fits) {
            const Tensor input = tensor_of(api_.SessionGetInputTypeInfo);
            const Tensor output = tensor_of(api_.SessionGetOutputTypeInfo);
            fits = input.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 && input.shape.size() == 4 &&
                   (input.shape[0] == 1 || input.shape[0] < 0) &&
                   std::equal(shape_.begin() + 1, shape_.end(), input.shape.begin() + 1) &&
                   output.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && output.shape.size() == 2 &&
                   output.shape[1] == static_cast<std::int64_t>(classes_);
        }
        if (!fits) {
            throw Unfit("its engine's input and output do not match its manifest");
        }
        input_ = name_of(api_.SessionGetInputName);
        output_ = name_of(api_.SessionGetOutputName);
    }

    using InfoOf = OrtStatus*(ORT_API_CALL*)(const OrtSession*, std::size_t, OrtTypeInfo**);

    Tensor tensor_of(InfoOf info_of) const {
        Handle<OrtTypeInfo> info(api_.ReleaseTypeInfo);
        check(info_of(session_.get(), 0, info.out()));
        const OrtTensorTypeAndShapeInfo* tensor = nullptr;
        check(api_.CastTypeInfoToTensorInfo(info.get(), &tensor));
        return tensor == nullptr ? Tensor{} : described(tensor);
    }

    Tensor described(const OrtTensorTypeAndShapeInfo* info) const {
        Tensor tensor;
        std::size_t count = 0;
        check(api_.GetTensorElementType(info, &tensor.type));
        check(api_.GetDimensionsCount(info, &count));
        tensor.shape.resize(count);
        check(api_.GetDimensions(info, tensor.shape.data(), count));
        return tensor;
    }

    using NameOf = OrtStatus*(ORT_API_CALL*)(const OrtSession*, std::size_t, OrtAllocator*, char**);

    std::string name_of(NameOf ask) const {
        OrtAllocator* allocator = nullptr;
        check(api_.GetAllocatorWithDefaultOptions(&allocator));
        char* name = nullptr;
        check(ask(session_.get(), 0, allocator, &name));
        std::string copy = name;
        check(api_.AllocatorFree(allocator, name));
        return copy;
    }

    std::vector<float> run(const std::vector<std::uint8_t>& pixels) const {
        Handle<OrtValue> input(api_.ReleaseValue), output(api_.ReleaseValue);
        // ONNX Runtime takes a pointer to mutable memory and only reads it
        check(api_.CreateTensorWithDataAsOrtValue(
            memory_.get(), const_cast<std::uint8_t*>(pixels.data()), pixels.size(), shape_.data(),
            shape_.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, input.out()));
        const char* const inputs[] = {input_.c_str()};
        const char* const outputs[] = {output_.c_str()};
        const OrtValue* const given[] = {input.get()};
        check(api_.Run(session_.get(), nullptr, inputs, given, 1, outputs, 1, output.out()));
        Handle<OrtTensorTypeAndShapeInfo> info(api_.ReleaseTensorTypeAndShapeInfo);
        check(api_.GetTensorTypeAndShape(output.get(), info.out()));
        const Tensor found = described(info.get());
        // what a model declares is not always what it returns
        const std::vector<std::int64_t> wanted = {1, static_cast<std::int64_t>(classes_)};
        if (found.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || found.shape != wanted) {
            throw Unfit("its engine returns an array of another shape than one logit per class");
        }
        void* data = nullptr;
        check(api_.GetTensorMutableData(output.get(), &data));
        const auto* first = static_cast<const float*>(data);
        std::vector<float> logits(first, first + classes_);
        if (!std::all_of(logits.begin(), logits.end(),
                         [](float one) { return std::isfinite(one); })) {
            throw Unfit("its engine returns logits that are not finite");
        }
        return logits;
    }

    const OrtApi& api_;
    std::string path_;
    std::array<std::int64_t, 4> shape_;
    std::size_t classes_;
    Handle<OrtEnv> environment_;
    Handle<OrtSession> session_;
    Handle<OrtMemoryInfo> memory_;
    std::string input_, output_;
};

}  // namespace

std::unique_ptr<Engine> open_onnxruntime(const Bundle& bundle, const Choice& choice, int threads) {
    const int available = available_cores();
    const int measured = std::min(choice.entry->threads.value_or(available), available);
    return std::make_unique<OnnxRuntimeEngine>(bundle, choice.content,
                                               threads != 0 ? threads : measured);
}

}  // namespace tmkd::internal
