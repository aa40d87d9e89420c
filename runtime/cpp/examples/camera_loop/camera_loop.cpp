// Classifies raw RGB frames from standard input, one line each, and prints latency percentiles at
// the end. A camera's frames can come from GStreamer or FFmpeg:
//
//     gst-launch-1.0 -q v4l2src ! videoconvert ! videoscale
//         ! video/x-raw,format=RGB,width=640,height=480 ! fdsink | camera_loop FILE.tmkd 640 480
#include <tmkd/classifier.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

/// The value below which a share of the sorted times lies.
double percentile(const std::vector<double>& sorted, double share) {
    const double place = share * static_cast<double>(sorted.size() - 1);
    return sorted[static_cast<std::size_t>(place + 0.5)];
}

void loop(const tmkd::Classifier& model, std::size_t width, std::size_t height) {
    std::vector<std::uint8_t> frame(width * height * 3);
    std::vector<double> times;
    while (std::fread(frame.data(), 1, frame.size(), stdin) == frame.size()) {
        const auto begun = Clock::now();
        const tmkd::Prediction found = model.predict(frame.data(), height, width);
        const std::chrono::duration<double, std::milli> took = Clock::now() - begun;
        times.push_back(took.count());
        std::printf("%s %.1f %% %.2f ms\n", found.label.c_str(), 100 * found.confidence,
                    took.count());
    }
    if (times.empty()) {
        return;
    }
    std::sort(times.begin(), times.end());
    std::printf("%zu frames; latency in ms: p50 %.2f, p90 %.2f, p99 %.2f, worst %.2f\n",
                times.size(), percentile(times, 0.5), percentile(times, 0.9),
                percentile(times, 0.99), times.back());
}

}  // namespace

int main(int count, char** words) {
    const long width = count == 4 ? std::strtol(words[2], nullptr, 10) : 0;
    const long height = count == 4 ? std::strtol(words[3], nullptr, 10) : 0;
    if (width < 1 || width > 8192 || height < 1 || height > 8192) {
        std::cerr << "Usage: camera_loop BUNDLE WIDTH HEIGHT, at most 8192 pixels each\n";
        return 2;
    }
    try {
        const tmkd::Classifier model{words[1]};
        loop(model, static_cast<std::size_t>(width), static_cast<std::size_t>(height));
    } catch (const tmkd::Error& error) {
        std::cerr << "Error: " << error.what() << '\n';
        return 5;
    }
    return 0;
}
