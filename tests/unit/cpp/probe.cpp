// Lets the tests call the library's parts: one process answers as many requests as standard input
// holds. Numbers are little-endian, as this machine has them.
#include <atomic>
#include <cstring>
#include <iostream>
#include <thread>
#include <vector>

#include "bundle.h"
#include "engine.h"
#include "json.h"
#include "onnx_check.h"
#include "preprocess.h"
#include "sha256.h"
#include "tmkd/classifier.h"
#include "unfit.h"

namespace {

using namespace tmkd::internal;

template <typename Number>
bool take(Number& number) {
    return static_cast<bool>(std::cin.read(reinterpret_cast<char*>(&number), sizeof number));
}

template <typename Number>
void give(const Number* numbers, std::size_t count) {
    std::cout.write(reinterpret_cast<const char*>(numbers),
                    static_cast<std::streamsize>(count * sizeof(Number)));
}

std::vector<std::uint8_t> taken(std::size_t size) {
    std::vector<std::uint8_t> bytes(size);
    std::cin.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    return bytes;
}

/// Calls `use` for every text on standard input, whose length comes before it.
template <typename Use>
void for_each_text(Use use) {
    for (std::uint32_t size = 0; take(size);) {
        const std::vector<std::uint8_t> text = taken(size);
        use(Bytes{text.data(), text.size()});
    }
}

/// Prints "ok", or why `use` refuses.
template <typename Use>
void print_verdict(Use use) {
    try {
        const auto found = use();
        std::cout << "ok " << found << '\n';
    } catch (const Unfit& error) {
        std::cout << "Unfit: " << error.what() << '\n';
    } catch (const tmkd::RuntimeMissingError& error) {
        std::cout << "RuntimeMissingError: " << error.what() << '\n';
    } catch (const tmkd::BundleError& error) {
        std::cout << "BundleError: " << error.what() << '\n';
    }
}

template <typename Use>
void for_each_path(Use use) {
    for (std::string path; std::getline(std::cin, path);) {
        print_verdict([&] { return use(path); });
    }
}

void preprocess() {
    struct {
        std::int32_t to_height, to_width, mode, grayscale, height, width;
    } request{};
    while (take(request)) {
        const auto size = static_cast<std::size_t>(request.height * request.width * 3);
        const std::vector<std::uint8_t> pixels = taken(size);
        const Preprocessing to{request.to_height, request.to_width,
                               static_cast<ResizeMode>(request.mode), request.grayscale != 0};
        const auto input = to({pixels.data(), request.height, request.width});
        give(input.data(), input.size());
    }
}

/// What a bundle holds, as text.
std::string contents(const std::string& path) {
    const Bundle bundle = read_bundle(path);
    std::string text;
    for (const auto& [name, content] : bundle.members) {
        text += name + '=' + sha256(content) + ' ';
    }
    return text;
}

std::string load(const std::string& path) {
    const tmkd::Classifier model(path);
    return model.engine().target + ' ' + model.engine().runtime + ' ' + model.engine().precision;
}

/// The engine that a machine would choose: whether it has ONNX Runtime, TensorRT's release, compute
/// capability, DLA cores, and how many of the first engines cannot be opened after all.
void choose_on(const std::vector<std::string>& words) {
    Machine machine;
    machine.has_onnxruntime = words[0] == "onnxruntime";
    machine.nvidia_problem = "there is no GPU";
    if (words.size() >= 4) {
        machine.nvidia = NvidiaMachine{words[1], std::stoi(words[2]), std::stoi(words[3])};
    }
    for_each_path([&](const std::string& path) {
        const Bundle bundle = read_bundle(path);
        Failures failures;
        for (int at = 0; words.size() == 5 && at < std::stoi(words[4]); ++at) {
            failures[&bundle.manifest.engines.at(static_cast<std::size_t>(at))] = "it fails";
        }
        const Choice choice = choose(bundle, machine, failures);
        return choice.entry->info.target + (choice.installed.size != 0 ? " installed" : "");
    });
}

void predict(const std::string& path) {
    const tmkd::Classifier model(path, {1, true});
    struct {
        std::int32_t height, width;
    } size{};
    while (take(size)) {
        const auto height = static_cast<std::size_t>(size.height);
        const auto width = static_cast<std::size_t>(size.width);
        const auto pixels = taken(height * width * 3);
        const tmkd::Prediction found = model.predict(pixels.data(), height, width);
        const auto index = static_cast<double>(found.index);
        give(&index, 1);
        give(&found.confidence, 1);
        give(found.logits.data(), found.logits.size());
    }
}

/// The same image in other layouts and from several threads gives the same logits.
int layouts(const std::string& path) {
    const tmkd::Classifier model(path, {1, false});
    constexpr std::size_t height = 5, width = 7, stride = 31;
    std::vector<std::uint8_t> rgb(height * width * 3), bgr(height * stride, 99),
        grey(height * width), thrice;
    for (std::size_t at = 0; at < rgb.size(); ++at) {
        rgb[at] = static_cast<std::uint8_t>(at * 37 % 251);
        const std::size_t row = at / (width * 3), place = at % (width * 3);
        bgr[row * stride + place / 3 * 3 + 2 - place % 3] = rgb[at];
    }
    for (std::size_t at = 0; at < grey.size(); ++at) {
        grey[at] = rgb[at];
        thrice.insert(thrice.end(), 3, grey[at]);
    }
    const auto expected = model.predict(rgb.data(), height, width).logits;
    const tmkd::Image other{bgr.data(), height, width, tmkd::PixelFormat::bgr, stride};
    const tmkd::Image one_channel{grey.data(), height, width, tmkd::PixelFormat::grey, 0};
    if (model.predict(other).logits != expected ||
        model.predict(one_channel).logits != model.predict(thrice.data(), height, width).logits) {
        return 1;
    }
    std::atomic<int> differing{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            for (int run = 0; run < 50; ++run) {
                differing += model.predict(other).logits != expected ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    return differing;
}

/// Images and options that are refused; one line each.
void misuse(const std::string& path) {
    const auto report = [](const auto& use) {
        try {
            use();
            std::cout << "accepted\n";
        } catch (const tmkd::ImageError& error) {
            std::cout << "ImageError: " << error.what() << '\n';
        } catch (const tmkd::ArgumentError& error) {
            std::cout << "ArgumentError: " << error.what() << '\n';
        }
    };
    const tmkd::Classifier model(path, {1, false});
    const std::vector<std::uint8_t> pixels(3 * 101);
    constexpr std::size_t many = 1U << 14U;
    report([&] { model.predict(nullptr, 1, 1); });
    report([&] { model.predict(pixels.data(), 0, 1); });
    report([&] { model.predict(pixels.data(), many, many); });
    report([&] { model.predict(pixels.data(), ~std::size_t{0}, 2); });
    report([&] { model.predict(pixels.data(), 101, 1); });
    report([&] { model.predict({pixels.data(), 2, 2, tmkd::PixelFormat::rgb, 5}); });
    report([&] { tmkd::Classifier(path, {257, false}); });
    report([&] { tmkd::Classifier(path, {-1, false}); });
}

}  // namespace

int main(int count, char** arguments) {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    const std::string& what = words.at(0);
    if (what == "preprocess") {
        preprocess();
    } else if (what == "sha256") {
        for_each_text([](Bytes text) { std::cout << sha256(text) << '\n'; });
    } else if (what == "json") {
        for_each_text([](Bytes text) { print_verdict([&] { return parse_object(text).size(); }); });
    } else if (what == "onnx") {
        for_each_text([](Bytes model) {
            print_verdict([&] {
                refuse_unsafe(model);
                return "";
            });
        });
    } else if (what == "read") {
        for_each_path(contents);
    } else if (what == "load") {
        for_each_path(load);
    } else if (what == "choose") {
        choose_on({words.begin() + 1, words.end()});
    } else if (what == "predict") {
        predict(words.at(1));
    } else if (what == "misuse") {
        misuse(words.at(1));
    } else if (what == "layouts") {
        return layouts(words.at(1));
    }
    return 0;
}
