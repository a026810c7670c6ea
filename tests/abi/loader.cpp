// Errors of a library that is loaded with RTLD_LOCAL, so that it and the program have a category each.
//
// usage: loader PLUGIN
#include "plugin.hpp"

#include <dlfcn.h>
#include <cstdio>

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "failed: %s\n", what);
}

}  // namespace

int main(int count, char** arguments) {
  using fanfare::errc;

  void* const library = count == 2 ? ::dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) {
    std::fprintf(stderr, "failed: %s\n", count == 2 ? ::dlerror() : "usage: loader PLUGIN");
    return 1;
  }
  const auto find = reinterpret_cast<const abi::Plugin* (*)()>(::dlsym(library, "abi_plugin"));
  expect(find != nullptr, "the library has what is looked for");
  expect(::dlsym(RTLD_DEFAULT, "abi_plugin") == nullptr, "nobody sees it without the library's handle");
  if (find == nullptr) return failures;
  const abi::Plugin& plugin = *find();

  const std::error_code theirs = plugin.make(errc::overloaded);
  expect(theirs == errc::overloaded, "an error of the library compares equal");
  expect(errc::overloaded == theirs, "the other way round too");
  expect(theirs != errc::closed, "and differs from another");
  expect(theirs == std::error_condition(static_cast<int>(errc::overloaded), fanfare::error_category()),
         "it matches a condition of ours");
  expect(theirs.message() == message(errc::overloaded), "it says what it is");
  expect(!plugin.make(errc::ok), "no error of the library is none");

  const std::error_code ours = make_error_code(errc::overloaded);
  expect(plugin.is(ours, errc::overloaded), "the library knows an error of ours");
  expect(!plugin.is(ours, errc::closed), "and tells it from another");
  expect(plugin.matches(ours, errc::overloaded), "it matches a condition of the library's");
  const std::error_code another(static_cast<int>(errc::overloaded), std::generic_category());
  expect(!plugin.is(another, errc::overloaded), "the library tells an error of another category from ours");

  ::dlclose(library);
  return failures;
}
