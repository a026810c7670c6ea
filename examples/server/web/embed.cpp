// Makes a C++ file that holds the files it is given.
//
// usage: fanfare-server-embed OUTPUT FILE...
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace {

/// Octal: an escape of three digits ends by itself, whatever comes behind it.
void write_literal(std::ofstream& out, const std::string& text) {
  constexpr std::size_t line = 96;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i % line == 0) out << (i == 0 ? "\"" : "\"\n    \"");
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\' && byte != '?') {
      out << text[i];
    } else {
      out << '\\' << (byte >> 6U) << ((byte >> 3U) & 7U) << (byte & 7U);
    }
  }
  out << (text.empty() ? "\"\"" : "\"");
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fputs("usage: fanfare-server-embed OUTPUT FILE...\n", stderr);
    return 2;
  }
  std::ofstream out(arguments[1], std::ios::binary);
  out << "#include \"assets.hpp\"\n\nstd::string_view asset(std::string_view name) {\n  using namespace "
         "std::literals;\n";
  for (int i = 2; i < count; ++i) {
    std::ifstream in(arguments[i], std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!in) {
      std::fprintf(stderr, "fanfare-server-embed: cannot read %s\n", arguments[i]);
      return 1;
    }
    out << "  if (name == " << std::filesystem::path(arguments[i]).filename() << "sv)\n    return ";
    write_literal(out, text);
    out << "sv;\n";
  }
  out << "  return {};\n}\n";
  out.close();
  if (out) return 0;
  std::fprintf(stderr, "fanfare-server-embed: cannot write %s\n", arguments[1]);
  return 1;
}
