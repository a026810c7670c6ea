// What the tests of stores have in common.
#pragma once

#include <fanfare/core/atomics.hpp>
#include <fanfare/core/errc.hpp>
#include <fanfare/core/memory.hpp>
#include <fanfare/core/message.hpp>
#include <fanfare/store/history_store.hpp>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::store {

inline void PrintTo(StoreError error, std::ostream* out) { *out << to_string(error); }

}  // namespace fanfare::store

namespace fanfare::test {

/// A directory that is gone with this.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "fanfare-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("there is no temporary directory");
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Something kept, that stays when what gave it back is gone.
struct Loaded {
  std::string channel;
  std::string event;
  std::string data;
  std::uint64_t number = 0;
  bool history = true;
  bool retained = false;
  std::string user_id{};
  std::string socket_id{};
  friend bool operator==(const Loaded&, const Loaded&) = default;
  friend void PrintTo(const Loaded& loaded, std::ostream* out) {
    *out << loaded.channel << ' ' << loaded.event << " '" << loaded.data << "' " << loaded.number
         << (loaded.history ? " history" : "") << (loaded.retained ? " retained" : "") << " by '" << loaded.user_id
         << "' '" << loaded.socket_id << "'";
  }
};

class Collect final : public store::KeptVisitor {
 public:
  void visit(const store::KeptEvent& event) override {
    all.push_back({std::string(event.channel), std::string(event.event), std::string(event.data), event.number,
                   event.history, event.retained, std::string(event.user_id), std::string(event.socket_id)});
    times.push_back(event.time);
  }
  std::vector<Loaded> all;
  std::vector<store::KeptChange::Clock::time_point> times;
};

[[nodiscard]] inline MessagePtr kept_message(EventId id, std::string_view channel, std::string_view event,
                                             std::string_view data, const MessageOrigin& origin = {}) {
  errc error = errc::ok;
  auto* const block = detail::MessageBlock<StdAtomics, NewDelete>::make({channel, event, data, &origin}, false, nullptr,
                                                                        NewDelete{}, error);
  if (block == nullptr) throw std::bad_alloc();
  block->set_id(id);
  return MessagePtr::adopt(block);
}

[[nodiscard]] inline store::KeptChange keep(MessagePtr message, bool history, bool retained, std::uint64_t floor = 0) {
  store::KeptChange change;
  change.history = history;
  change.retained = retained;
  change.message = std::move(message);
  change.time = store::KeptChange::Clock::now();
  change.floor = floor;
  return change;
}

[[nodiscard]] inline store::KeptChange forget(std::string channel, std::uint64_t floor,
                                              std::uint64_t retained_floor = 0) {
  store::KeptChange change;
  change.kind = store::KeptChange::Kind::forget;
  change.channel = std::move(channel);
  change.floor = floor;
  change.retained_floor = retained_floor;
  return change;
}

}  // namespace fanfare::test
