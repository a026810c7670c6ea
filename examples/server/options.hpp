// What fanfare-server is told: by flags, and by a file.
#pragma once

#include <fanfare/app.hpp>
#include <fanfare/pusher/webhooks.hpp>
#include <fanfare/store/history_store.hpp>
#include <fanfare/transport/send_ring.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// An application, who is told of what happens in it, and where what its channels keep outlives the program.
struct OptionsApp {
  fanfare::AppOptions app;
  fanfare::pusher::WebhookOptions webhooks;
  std::string store_path{};  ///< Empty: nowhere.
  fanfare::store::Durability store_durability = fanfare::store::Durability::process;
};

/// What the program is to do. The members of the same name in `fanfare::ServerOptions` are explained there.
struct Options {
  std::vector<std::string> listen;      ///< HOST:PORT each.
  std::vector<std::string> listen_tls;  ///< HOST:PORT each. Not both are empty.
  std::string tls_cert;                 ///< Not empty where `listen_tls` is not.
  std::string tls_key;                  ///< Likewise.
  std::string webhook_ca_file;
  std::vector<OptionsApp> apps;  ///< Not empty.
  bool development = false;      ///< Nobody named an application: `apps` is the one for development.
  unsigned threads = 1;
  std::size_t max_outbox_bytes = std::size_t{1} << 20U;
  std::size_t max_mailbox_bytes = std::size_t{64} << 20U;
  std::size_t max_connections = 0;
  std::size_t max_message_bytes = std::size_t{64} << 10U;
  std::size_t max_body_bytes = std::size_t{1} << 20U;
  unsigned request_timeout = 30;      ///< Seconds.
  unsigned keep_alive_timeout = 120;  ///< Seconds.
  unsigned drain_timeout = 5;         ///< Seconds.
  std::string path_prefix;
  bool forwarded_for = false;
  fanfare::transport::SocketIo io = fanfare::transport::SocketIo::automatic;
  std::string pusher_js;  ///< The client library that the demo's page loads; empty: where the build expects it.
  bool has_file = false;  ///< `--config` named a file.
  bool help = false;      ///< Print `help_text` and end; nothing else is filled in.
  bool version = false;   ///< Print the version and end; nothing else is filled in.
};

/// Either options or, in a sentence for people, what is wrong with them.
struct ReadOptions {
  Options options;
  std::string error;  ///< Empty where nothing is wrong.

  [[nodiscard]] explicit operator bool() const noexcept { return error.empty(); }
};

/// A file's contents, or nothing and why.
struct FileText {
  std::optional<std::string> text;
  std::string error;
};

/// Reads the arguments, without the program's name. Flags add listeners and applications to those of the file and
/// override its numbers, in whatever order they stand. Flags for applications are for those that come from flags.
///
/// \param read_file  reads the file that `--config` names.
[[nodiscard]] ReadOptions read_options(std::span<const std::string> arguments,
                                       const std::function<FileText(const std::string& path)>& read_file);

/// What `--help` prints.
[[nodiscard]] std::string_view help_text();
