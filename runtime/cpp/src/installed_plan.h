// TensorRT plans that `tmkd-deploy bundle install` built on this machine.
#pragma once

#include "engine.h"

namespace tmkd::internal {

/// The plan that was installed for this machine; empty if there is none, or it is not what was
/// kept.
///
/// A plan is code for the driver, so it is only taken from a folder that belongs to this user and
/// that nobody else can write, and only with the hash that was recorded when it was built.
///
/// Throws Unfit if others can write the folder; the message is a clause.
FileContent installed_plan(const Bundle& bundle, const BuildRecipe& recipe,
                           const NvidiaMachine& machine);

}  // namespace tmkd::internal
