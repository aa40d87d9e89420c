// tmkd-classify: classify images with a bundle from the command line.
#include <fstream>
#include <iostream>

#include "command_line.h"
#include "netpbm.h"
#include "output.h"
#include "tmkd/classifier.h"

namespace programs {
namespace {

/// Classifies what one stream holds: an image, or frames up to its end.
void classify(std::istream& stream, const std::string& name, const Arguments& arguments,
              const tmkd::Classifier& model) {
    if (!arguments.frame) {
        const Pixels image = read_netpbm(stream);
        print(std::cout, arguments, name, -1, model, model.predict(image.view()));
        return;
    }
    Pixels frame;
    frame.width = arguments.frame->width;
    frame.height = arguments.frame->height;
    for (long number = 0; read_frame(stream, frame); ++number) {
        print(std::cout, arguments, name, number, model, model.predict(frame.view()));
    }
}

int run(const Arguments& arguments) {
    tmkd::Options options;
    options.threads = arguments.threads;
    options.verify = arguments.verify;
    const tmkd::Classifier model(arguments.bundle, options);
    if (model.verification()) {
        print(std::cout, arguments, *model.verification());
    }
    int code = kOk;
    for (const std::string& name : arguments.images) {
        try {
            if (name == "-") {
                classify(std::cin, name, arguments, model);
                continue;
            }
            std::ifstream file(name, std::ios::binary);
            if (!file) {
                throw tmkd::ImageError("It cannot be read.", "Pass the path of a readable file.");
            }
            classify(file, name, arguments, model);
        } catch (const tmkd::ImageError& error) {
            print_problem(std::cout, std::cerr, arguments, name, error);
            code = kData;
        }
    }
    return code;
}

int fail(const std::string& problem, int code) {
    std::cout.flush();
    std::cerr << "Error: " << printable(problem) << '\n';
    return code;
}

}  // namespace
}  // namespace programs

int main(int count, char** words) {
    using namespace programs;
    std::ios::sync_with_stdio(false);
    try {
        const Arguments arguments = parse_arguments({words + 1, words + count});
        if (arguments.help) {
            std::cout << kHelp;
            return kOk;
        }
        return run(arguments);
    } catch (const UsageError& error) {
        return fail(std::string(error.what()) + " Help: tmkd-classify --help", kRequest);
    } catch (const tmkd::ArgumentError& error) {
        return fail(error.what(), kRequest);
    } catch (const tmkd::RuntimeMissingError& error) {
        return fail(error.what(), kEnvironment);
    } catch (const tmkd::Error& error) {
        return fail(error.what(), kData);
    } catch (const std::bad_alloc&) {
        return fail("This machine has not enough memory. Close other programs.", kEnvironment);
    } catch (const std::exception& error) {
        return fail(std::string("Something unexpected failed: ") + error.what(), kEnvironment);
    }
}
