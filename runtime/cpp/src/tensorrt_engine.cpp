#include "tensorrt_engine.h"

#include <NvInferRuntime.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "cuda.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

/// Keeps the first error that TensorRT reports; errors of other threads may come in between.
class Log : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR) {
            return;
        }
        const std::lock_guard<std::mutex> guard(mutex_);
        if (first_.empty() && message != nullptr) {
            first_ = quoted(message);
        }
    }

    std::string first() const {
        const std::lock_guard<std::mutex> guard(mutex_);
        return first_.empty() ? "it gives no reason" : first_;
    }

  private:
    mutable std::mutex mutex_;
    std::string first_;
};

std::string release() {
#if NV_TENSORRT_MAJOR >= 10
    const int parts[] = {getInferLibMajorVersion(), getInferLibMinorVersion(),
                         getInferLibPatchVersion(), getInferLibBuildVersion()};
#else
    // only the header knows the build number
    const int version = getInferLibVersion();
    const int parts[] = {version / 1000, version / 100 % 10, version % 100, NV_TENSORRT_BUILD};
#endif
    std::string text;
    for (const int part : parts) {
        text += (text.empty() ? "" : ".") + std::to_string(part);
    }
    return text;
}

std::size_t volume(const nvinfer1::Dims& shape) {
    std::size_t product = 1;
    for (int axis = 0; axis < shape.nbDims; ++axis) {
        product *= static_cast<std::size_t>(std::max<std::int64_t>(shape.d[axis], 0));
    }
    return product;
}

bool is_shape(const nvinfer1::Dims& shape, std::initializer_list<std::int64_t> wanted) {
    return shape.nbDims == static_cast<int>(wanted.size()) &&
           std::equal(wanted.begin(), wanted.end(), shape.d);
}

/// One execution context with its buffers, so calls take turns.
class TensorRtEngine : public Engine {
  public:
    TensorRtEngine(const Bundle& bundle, const Choice& choice)
        : path_(bundle.path), classes_(bundle.manifest.class_names.size()) {
        try {
            open(choice.content, choice.dla_core);
            match(bundle.manifest.preprocessing);
            allocate();
            capture();
        } catch (const cuda::Failure& error) {
            throw missing(error.what());
        } catch (const Unfit& error) {
            throw broken(path_, error.what());
        }
    }

    std::vector<float> logits(const std::vector<std::uint8_t>& pixels) override {
        const std::lock_guard<std::mutex> guard(mutex_);
        std::memcpy(host_pixels_.get(), pixels.data(), std::min(pixels.size(), pixel_bytes_));
        try {
            if (graph_) {
                cuda::check(cudaGraphLaunch(graph_.get(), stream_.get()), "cudaGraphLaunch");
            } else {
                enqueue();
            }
            cuda::check(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
        } catch (const cuda::Failure& error) {
            throw broken(path_, std::string("its engine fails (") + error.what() + ")");
        } catch (const Unfit& error) {
            throw broken(path_, error.what());
        }
        const auto* first = static_cast<const float*>(host_logits_.get());
        std::vector<float> logits(first, first + classes_);
        if (!std::all_of(logits.begin(), logits.end(),
                         [](float one) { return std::isfinite(one); })) {
            throw broken(path_, "its engine returns logits that are not finite");
        }
        return logits;
    }

  private:
    /// The error for a machine that cannot run the plan; another engine of the bundle may do.
    RuntimeMissingError missing(const std::string& problem) const {
        return RuntimeMissingError(problem, "Build the engine again on this machine.", path_);
    }

    void open(Bytes plan, std::optional<int> dla_core) {
        // A thread that sleeps takes longer to wake up than a small engine runs. An application
        // that uses the GPU already has chosen for itself, and the call is then refused.
        if (cudaSetDeviceFlags(cudaDeviceScheduleSpin) != cudaSuccess) {
            cudaGetLastError();
        }
        runtime_.reset(nvinfer1::createInferRuntime(log_));
        if (!runtime_) {
            throw missing("TensorRT cannot start: " + log_.first());
        }
        if (dla_core) {
            runtime_->setDLACore(*dla_core);
        }
        engine_.reset(runtime_->deserializeCudaEngine(plan.data, plan.size));
        if (!engine_) {
            throw missing("TensorRT " + release() + " rejects the engine: " + log_.first());
        }
        context_.reset(engine_->createExecutionContext());
        if (!context_) {
            throw missing("the engine does not fit into the GPU's memory: " + log_.first());
        }
    }

    /// Compares the plan's input and output with the manifest, and remembers their names.
    void match(const Preprocessing& to) {
        using nvinfer1::TensorIOMode;
        bool fits = engine_->getNbIOTensors() == 2;
        for (int at = 0; fits && at < 2; ++at) {
            const char* name = engine_->getIOTensorName(at);
            const bool is_input = engine_->getTensorIOMode(name) == TensorIOMode::kINPUT;
            (is_input ? input_ : output_) = name;
        }
        fits = fits && !input_.empty() && !output_.empty() &&
               engine_->getTensorDataType(input_.c_str()) == nvinfer1::DataType::kUINT8 &&
               engine_->getTensorDataType(output_.c_str()) == nvinfer1::DataType::kFLOAT;
        if (fits) {
            nvinfer1::Dims shape{};
            shape.nbDims = 4;
            shape.d[0] = 1;
            shape.d[1] = to.height;
            shape.d[2] = to.width;
            shape.d[3] = 3;
            fits =
                context_->setInputShape(input_.c_str(), shape) &&
                is_shape(context_->getTensorShape(input_.c_str()), {1, to.height, to.width, 3}) &&
                is_shape(context_->getTensorShape(output_.c_str()),
                         {1, static_cast<std::int64_t>(classes_)});
        }
        if (!fits) {
            throw Unfit("its engine's input and output do not match its manifest");
        }
    }

    void allocate() {
        pixel_bytes_ = volume(context_->getTensorShape(input_.c_str()));
        logit_bytes_ = classes_ * sizeof(float);
        stream_ = cuda::stream();
        device_pixels_ = cuda::device_memory(pixel_bytes_);
        device_logits_ = cuda::device_memory(logit_bytes_);
        host_pixels_ = cuda::pinned_memory(pixel_bytes_);
        host_logits_ = cuda::pinned_memory(logit_bytes_);
        if (!context_->setTensorAddress(input_.c_str(), device_pixels_.get()) ||
            !context_->setTensorAddress(output_.c_str(), device_logits_.get())) {
            throw Unfit("its engine takes no memory: " + log_.first());
        }
    }

    /// Copies the pixels to the GPU, runs the engine and copies the logits back, in the stream.
    void enqueue() {
        cuda::check(cudaMemcpyAsync(device_pixels_.get(), host_pixels_.get(), pixel_bytes_,
                                    cudaMemcpyHostToDevice, stream_.get()),
                    "cudaMemcpyAsync");
        if (!context_->enqueueV3(stream_.get())) {
            throw Unfit("its engine fails (" + log_.first() + ")");
        }
        cuda::check(cudaMemcpyAsync(host_logits_.get(), device_logits_.get(), logit_bytes_,
                                    cudaMemcpyDeviceToHost, stream_.get()),
                    "cudaMemcpyAsync");
    }

    /// Records one run as a graph, which starts with a single call. What cannot be recorded, such
    /// as an engine that synchronises, runs step by step.
    void capture() {
        std::memset(host_pixels_.get(), 0, pixel_bytes_);
        enqueue();  // the first run allocates, which cannot be recorded
        cuda::check(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
        if (cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal) ==
            cudaSuccess) {
            bool is_recorded = true;
            try {
                enqueue();
            } catch (const std::runtime_error&) {
                is_recorded = false;
            }
            cudaGraph_t made = nullptr;
            is_recorded = cudaStreamEndCapture(stream_.get(), &made) == cudaSuccess && is_recorded;
            const cuda::Graph graph(made);
            cudaGraphExec_t runnable = nullptr;
            if (is_recorded && made != nullptr &&
                cudaGraphInstantiateWithFlags(&runnable, made, 0) == cudaSuccess) {
                graph_.reset(runnable);
            }
        }
        cudaGetLastError();  // forget what failed
    }

    // in this order, so that what is used last is destroyed first
    std::mutex mutex_;
    std::string path_;
    std::size_t classes_, pixel_bytes_ = 0, logit_bytes_ = 0;
    Log log_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    cuda::Stream stream_;
    cuda::DeviceMemory device_pixels_, device_logits_;
    cuda::PinnedMemory host_pixels_, host_logits_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    cuda::GraphExec graph_;
    std::string input_, output_;
};

}  // namespace

std::optional<NvidiaMachine> nvidia_machine(std::string& problem) {
    NvidiaMachine machine;
    try {
        machine.compute_capability = 10 * cuda::attribute(cudaDevAttrComputeCapabilityMajor) +
                                     cuda::attribute(cudaDevAttrComputeCapabilityMinor);
    } catch (const cuda::Failure& error) {
        problem = error.what();
        return std::nullopt;
    }
    Log log;
    const std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(log));
    if (!runtime) {
        problem = "TensorRT cannot start: " + log.first();
        return std::nullopt;
    }
    machine.release = release();
    machine.dla_cores = runtime->getNbDLACores();
    return machine;
}

std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Choice& choice) {
    return std::make_unique<TensorRtEngine>(bundle, choice);
}

}  // namespace tmkd::internal
