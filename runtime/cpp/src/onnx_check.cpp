// Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
#include "onnx_check.h"

#include <string>
#include <string_view>
#include <vector>

#include "protobuf.h"
#include "unfit.h"

namespace tmkd::internal {
namespace {

enum class Kind { model, graph, node, attribute, tensor };

/// A message inside another: `field` of an `outer` message is an `inner` one.
struct Inner {
    Kind outer;
    std::uint32_t field;
    Kind inner;
};

constexpr Inner kMessages[] = {
    {Kind::model, 7, Kind::graph},      {Kind::graph, 1, Kind::node},
    {Kind::graph, 5, Kind::tensor},     {Kind::node, 5, Kind::attribute},
    {Kind::attribute, 5, Kind::tensor}, {Kind::attribute, 10, Kind::tensor},
};

struct Refused {
    Kind outer;
    std::uint32_t field;
    const char* what;
};

constexpr const char* kSparse = "sparse tensors, which may be small in the file and huge in memory";
constexpr const char* kSubgraph = "a graph within its graph, as loops and branches have";
constexpr const char* kElsewhere = "weights in another file";

constexpr Refused kRefused[] = {
    {Kind::model, 20, "training steps"}, {Kind::model, 25, "functions of its own"},
    {Kind::graph, 15, kSparse},          {Kind::attribute, 6, kSubgraph},
    {Kind::attribute, 11, kSubgraph},    {Kind::attribute, 22, kSparse},
    {Kind::attribute, 23, kSparse},      {Kind::tensor, 13, kElsewhere},
};

constexpr std::uint32_t kOperator = 4, kDomain = 7;  // of a node
constexpr std::uint32_t kLocation = 14;              // of a tensor
constexpr long kMostFields = 2000000;  // some hundred times those of a large classifier

[[noreturn]] void refuse(const std::string& what) {
    throw Unfit("its engine has " + what);
}

void check_node(const Field& field) {
    const std::string_view name = field.has_bytes ? field.bytes.text() : std::string_view{};
    if (field.number == kOperator &&
        (name == "Loop" || name == "If" || name == "Scan" || name == "SequenceMap")) {
        refuse("the operator " + quoted(name) + ", which may never end");
    }
    if (field.number == kDomain && !name.empty() && name != "ai.onnx") {
        refuse("an operator from outside the ONNX standard, of " + quoted(name));
    }
}

void check_field(Kind kind, const Field& field) {
    for (const Refused& refused : kRefused) {
        if (refused.outer == kind && refused.field == field.number) {
            refuse(refused.what);
        }
    }
    if (kind == Kind::node) {
        check_node(field);
    }
    if (kind == Kind::tensor && field.number == kLocation &&
        (field.has_bytes || field.value != 0)) {
        refuse(kElsewhere);
    }
}

const Inner* inner_of(Kind kind, const Field& field) {
    for (const Inner& message : kMessages) {
        if (message.outer == kind && message.field == field.number && field.has_bytes) {
            return &message;
        }
    }
    return nullptr;
}

}  // namespace

void refuse_unsafe(Bytes model) {
    struct Message {
        Kind kind;
        Bytes content;
    };
    std::vector<Message> waiting = {{Kind::model, model}};
    long left = kMostFields;
    bool has_graph = false;
    while (!waiting.empty()) {
        const Message message = waiting.back();
        waiting.pop_back();
        Fields fields(message.content);
        for (Field field; fields.next(field);) {
            if (--left < 0) {
                refuse("too many parts to check");
            }
            if (const Inner* found = inner_of(message.kind, field)) {
                waiting.push_back({found->inner, field.bytes});
                has_graph = has_graph || found->inner == Kind::graph;
            } else {
                check_field(message.kind, field);
            }
        }
    }
    if (!has_graph) {
        throw Unfit("its engine is not an ONNX model: it has no graph");
    }
}

}  // namespace tmkd::internal
