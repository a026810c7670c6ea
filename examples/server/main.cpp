// fanfare-server: fanfare::Server as a program, and a demo to look at.
#include "demo.hpp"
#include "options.hpp"

#include <fanfare/server.hpp>
#include <fanfare/store/history_store.hpp>
#if FANFARE_EXAMPLE_SQLITE
#include <fanfare/store/journal.hpp>
#include <fanfare/store/sqlite.hpp>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int could_not_run = 1;
constexpr int wrong_use = 2;

FileText read_file(const std::string& path) {
  constexpr std::size_t most = std::size_t{16} << 20U;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) return {std::nullopt, std::strerror(errno)};
  std::string text;
  for (std::array<char, 65536> part; const std::size_t size = std::fread(part.data(), 1, part.size(), file.get());) {
    text.append(part.data(), size);
    if (text.size() > most) return {std::nullopt, "it is larger than 16 MiB"};
  }
  if (std::ferror(file.get()) != 0) return {std::nullopt, std::strerror(errno)};
  return {std::move(text), {}};
}

int complain(const std::string& what, int code) {
  std::fprintf(stderr, "fanfare-server: %s\n", what.c_str());
  return code;
}

int exit_code(fanfare::ServerErrc error) {
  switch (error) {
    case fanfare::ServerErrc::ok: return 0;
    case fanfare::ServerErrc::bad_option:
    case fanfare::ServerErrc::bad_app:
    case fanfare::ServerErrc::duplicate_app:
    case fanfare::ServerErrc::bad_certificate:
    case fanfare::ServerErrc::bad_address: return wrong_use;
    case fanfare::ServerErrc::bad_store:
    case fanfare::ServerErrc::already_started:
    case fanfare::ServerErrc::no_io_uring:
    case fanfare::ServerErrc::cannot_listen:
    case fanfare::ServerErrc::system: break;
  }
  return could_not_run;
}

/// Gives an application its store.
/// \param code   receives how the program ends if that fails. \returns why it does; empty: it has one, or needs none.
std::string open_store(const OptionsApp& named, fanfare::AppOptions& app, int& code) {
  if (named.store_path.empty()) return {};
  const std::string where = "application '" + app.id + "': the store " + named.store_path + ": ";
#if FANFARE_EXAMPLE_SQLITE
  code = could_not_run;
  auto [error, store] = fanfare::store::SqliteStore::open(named.store_path, named.store_durability);
  if (error != fanfare::store::StoreError::ok) return where + std::string(message(error));
  app.store = fanfare::store::make_log(std::move(store));
  app.on_event = [where](const fanfare::AppEvent& event) {
    if (event.kind != fanfare::AppEvent::Kind::store_trouble) return;
    complain(where + (event.data.empty() ? "it works again" : event.data), 0);
  };
  return {};
#else
  code = wrong_use;
  return where + "this program was built without SQLite";
#endif
}

}  // namespace

int main(int count, char** values) {
  // Every thread inherits this: the signals wait for sigwait below, and a client that goes away kills nobody.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const std::vector<std::string> arguments(values + (count > 0 ? 1 : 0), values + count);
  const ReadOptions read = read_options(arguments, read_file);
  if (!read) return complain(read.error, wrong_use);
  const Options& options = read.options;
  sigset_t signals = stop_signals;
  // Otherwise it ends the program, as when a terminal is closed. A program with a file is a service, which is told to
  // reload whatever it was set up to do.
  if (!options.listen_tls.empty() || options.has_file) {
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  }
  if (options.help) return std::fputs(help_text().data(), stdout) < 0 ? could_not_run : 0;
  if (options.version) return std::printf("fanfare-server %s\n", fanfare::version_string) < 0 ? could_not_run : 0;

  std::unique_ptr<Demo> demo;
  fanfare::ServerOptions server_options;
  server_options.listen = options.listen;
  server_options.listen_tls = options.listen_tls;
  server_options.tls_certificate = options.tls_cert;
  server_options.tls_key = options.tls_key;
  server_options.webhook_ca_file = options.webhook_ca_file;
  server_options.threads = options.threads;
  server_options.max_outbox_bytes = options.max_outbox_bytes;
  server_options.max_mailbox_bytes = options.max_mailbox_bytes;
  server_options.max_connections = options.max_connections;
  server_options.max_message_bytes = options.max_message_bytes;
  server_options.max_body_bytes = options.max_body_bytes;
  server_options.request_timeout = std::chrono::seconds(options.request_timeout);
  server_options.keep_alive_timeout = std::chrono::seconds(options.keep_alive_timeout);
  server_options.drain_timeout = std::chrono::seconds(options.drain_timeout);
  server_options.path_prefix = options.path_prefix;
  server_options.forwarded_for = options.forwarded_for;
  server_options.io = options.io;
  if (options.development) {
    server_options.on_request = [&demo](const fanfare::http::Request& request) { return demo->handle(request); };
  }

  fanfare::Server server(std::move(server_options));
  for (const OptionsApp& named_app : options.apps) {
    fanfare::AppOptions app_options = named_app.app;
    int code = 0;
    if (const std::string wrong = open_store(named_app, app_options, code); !wrong.empty()) {
      return complain(wrong, code);
    }
    // It computes none, and a small outbox is no mistake.
    app_options.snapshots.bytes =
        std::min(app_options.snapshots.bytes, options.max_outbox_bytes - std::size_t{64} * 1024);
    fanfare::App& app = server.add_app(std::move(app_options), named_app.webhooks);
    if (!options.development) continue;
    const bool named = !options.pusher_js.empty();
    FileText pusher_js = read_file(named ? options.pusher_js : FANFARE_EXAMPLE_PUSHER_JS);
    if (named && !pusher_js.text)
      return complain(options.pusher_js + ": cannot be read: " + pusher_js.error, wrong_use);
    demo = std::make_unique<Demo>(app, std::move(pusher_js.text).value_or(""), options.path_prefix);
  }
  if (const fanfare::ServerResult started = server.start(); !started) {
    return complain(started.text(), exit_code(started.error()));
  }

  for (const std::string& endpoint : server.endpoints()) std::printf("listening on http://%s\n", endpoint.c_str());
  for (const std::string& endpoint : server.tls_endpoints()) {
    std::printf("listening on https://%s\n", endpoint.c_str());
  }
  if (options.development) {
    const fanfare::AppOptions& app = options.apps.front().app;
    std::printf("application for development, known to everybody: id %s, key %s, secret %s\n", app.id.c_str(),
                app.key.c_str(), app.secret.c_str());
    const bool tls = server.endpoints().empty() || app.tls_only;
    std::printf("demo: open %s://%s/ in two tabs\n", tls ? "https" : "http",
                (tls ? server.tls_endpoints() : server.endpoints()).front().c_str());
  }
  std::fflush(stdout);

  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) {
    if (const fanfare::ServerResult reloaded = server.reload_certificate(); !reloaded) {
      complain(reloaded.text(), 0);
      continue;
    }
    std::puts("reloaded the certificate");
    std::fflush(stdout);
  }
  // From here on they end the program, as usual.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  server.stop();
  return 0;
}
