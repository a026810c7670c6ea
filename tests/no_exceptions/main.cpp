// The whole interface of the core without exceptions and without run-time type information: errors are values.
#include <fanfare/core/channel_memory.hpp>
#include <fanfare/fanfare.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__cpp_exceptions) || defined(__cpp_rtti)
#error "compile this with -fno-exceptions -fno-rtti"
#endif
static_assert(FANFARE_EXCEPTIONS == 0);

namespace {

using fanfare::errc;

int failures = 0;

void expect(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "%d: failed: %s\n", line, what);
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

struct Memory {
  static inline std::size_t live = 0;
  static inline bool exhausted = false;

  void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    if (exhausted) return nullptr;
    live += bytes;
    return ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
  }
  void deallocate(void* address, std::size_t bytes, std::size_t alignment) noexcept {
    live -= bytes;
    ::operator delete(address, std::align_val_t{alignment});
  }
};

struct Queue {
  static constexpr bool wire = true;
  bool push(fanfare::MessagePtr message) noexcept {
    messages.push_back(std::move(message));
    return true;
  }
  bool has_room(std::size_t bytes) noexcept { return bytes < 100; }
  std::vector<fanfare::MessagePtr> messages;
};

struct Encoder final : fanfare::Encoder {
  [[nodiscard]] std::size_t bound(const fanfare::MessageParts& event) const noexcept override {
    return event.data.size() + 2;
  }
  [[nodiscard]] errc encode(const fanfare::MessageParts& event, std::span<std::byte> out,
                            std::size_t& written) const noexcept override {
    if (event.data == "\xff") return errc::not_utf8;
    out[0] = std::byte{'['};
    if (!event.data.empty()) std::memcpy(out.data() + 1, event.data.data(), event.data.size());
    out[event.data.size() + 1] = std::byte{']'};
    written = event.data.size() + 2;
    return errc::ok;
  }
};

template <class Registry>
void callbacks() {
  Registry channels;
  std::string seen;
  const auto owner = std::make_shared<int>(7);
  auto lobby = channels.subscribe("lobby", [&](fanfare::Subscription& subscription) {
    subscription.bind("join", [&seen](const fanfare::Event& event) { seen += event.data(); });
    subscription.bind("join", std::weak_ptr<int>(owner),
                      [&seen](int& number, const fanfare::Event&) { seen += std::to_string(number); });
    subscription.bind_all([&seen](const fanfare::Event& event) { seen += event.name().front(); });
  });
  EXPECT(channels.trigger("lobby", "join", "ann").delivered == 3);
  EXPECT(seen == "ann7j");
  seen.clear();
  fanfare::BindingId once;
  once = lobby.bind("leave", [&](const fanfare::Event&) {
    lobby.unbind(once);
    channels.trigger("lobby", "nested", "");
    lobby.bind("leave", [](const fanfare::Event&) {});
  });
  channels.trigger("lobby", "leave", "");
  EXPECT(seen == "nl");
  EXPECT(lobby.unbind("join") == 2);
  EXPECT(!lobby.unbind(once));
  EXPECT(channels.trigger("lobby", "join", "", {.except = lobby}).delivered == 0);

  std::size_t depth = 0;
  errc deepest = errc::ok;
  lobby.bind("deep", [&](const fanfare::Event&) {
    ++depth;
    if (const auto result = channels.trigger("lobby", "deep", ""); !result) deepest = result.error;
  });
  channels.trigger("lobby", "deep", "");
  EXPECT(depth == fanfare::max_trigger_depth);
  EXPECT(deepest == errc::nested_too_deep);

  fanfare::Subscription moved = std::move(lobby);
  moved.detach();
  EXPECT(moved.error() == errc::closed);
  EXPECT(channels.size() == 0);
}

template <class Registry>
void queues() {
  Encoder encoder;
  Queue queue;
  Registry channels{{.encoder = &encoder}};
  auto inbox =
      channels.subscribe("presence-a", fanfare::Inbox{.messages = 2, .overflow = fanfare::Overflow::drop_oldest});
  const auto attached = channels.attach("presence-a", queue);
  fanfare::MessagePtr kept;
  for (const char* const data : {"1", "2", "3"}) {
    EXPECT(channels.trigger("presence-a", "e", data, {.user_id = "u", .socket_id = "1.2"}).delivered == 2);
  }
  EXPECT(inbox.dropped() == 1 && inbox.size() == 2 && inbox.capacity() == 2);
  EXPECT(inbox.poll([&](const fanfare::Event& event) { kept = event.keep(); }, 1) == 1);
  EXPECT(kept && kept->data() == "2" && kept->user_id() == "u" && kept->id().number == 2);
  EXPECT(queue.messages.size() == 3 && queue.messages[0]->frame().size() == 3);
  EXPECT(channels.trigger("presence-a", "e", "\xff").error == errc::not_utf8);
  EXPECT(channels.trigger("presence-a", "e", std::string(200, 'x')).error == errc::overloaded);
  EXPECT(channels.trigger({"presence-a", "b"}, "e", "", {.except = attached}).delivered == 1);
}

template <class Registry>
void registry() {
  std::string told;
  fanfare::ChannelHandle handle;
  fanfare::Subscription left;
  {
    Registry channels{{.limits = {.channels = 2},
                       .on_occupied = [&](std::string_view name) { told += name; },
                       .on_vacated = [&](std::string_view name) { told.append(name.rbegin(), name.rend()); }}};
    EXPECT(channels.subscribe("no spaces").error() == errc::bad_character);
    EXPECT(channels.trigger("", "e", "").error == errc::empty_name);
    EXPECT(channels.trigger("a", "pusher:e", "").error == errc::reserved_name);
    {
      const auto one = channels.subscribe("ab");
      const auto two = channels.subscribe("cd");
      EXPECT(channels.subscribe("ef").error() == errc::too_many_channels);
      std::size_t listed = 0;
      EXPECT(channels.for_each_channel([&](std::string_view, std::size_t count) { listed += count; }, "a") == errc::ok);
      EXPECT(listed == 1);
      EXPECT(channels.occupied("ab") && channels.subscribers("cd") == 1);
    }
    EXPECT(told == "abcddcba");
    handle = channels.channel("lobby");
    EXPECT(handle.trigger("e", "").error == errc::ok);
    left = channels.subscribe("lobby");
    left.bind("e", [](const fanfare::Event&) {});
    EXPECT(handle.subscribers() == 1);
    channels.collect();
    EXPECT(channels.stats().retired_bytes == 0 && channels.stats().suppressed_exceptions == 0);
  }
  EXPECT(handle.trigger("e", "").error == errc::closed);
  EXPECT(left.error() == errc::closed);
  const std::error_code code = left.error();
  EXPECT(code == errc::closed && code.message() == fanfare::message(errc::closed));
  EXPECT(fanfare::docs_anchor(errc::closed) == "reference/errors.md#closed");
}

template <class Registry>
void kept() {
  fanfare::ChannelMemories memories{
      {}, fanfare::ChannelRules{{{.match = "a", .retain = true, .history = fanfare::HistoryRule{.count = 2}}}}};
  Registry channels{{.states = &memories}};
  const fanfare::EventId first = channels.trigger("a", "e", "1").id;
  for (const char* const data : {"2", "3"}) channels.trigger("a", "f", data);
  std::string seen;
  const auto setup = [&](fanfare::Subscription& s) {
    s.bind_all([&](const fanfare::Event& event) { seen += event.data(); });
  };
  const auto all = channels.subscribe("a", setup);
  EXPECT(seen == "123" && all.reach() == fanfare::Reach::whole);
  const auto back = channels.subscribe("a", setup, first);
  EXPECT(seen == "12323" && back.resumed());
  auto inbox = channels.subscribe("a", fanfare::Inbox{}, fanfare::to_text(first).view());
  EXPECT(inbox.size() == 2 && inbox.resumed());
  auto later = channels.subscribe("a", first);
  later.bind("f", [&](const fanfare::Event& event) { seen += event.data(); });
  EXPECT(seen == "1232323" && later.resumed());
  const auto none = channels.subscribe("a", setup, fanfare::Since::now());
  EXPECT(seen == "1232323" && !none.resumed());
}

template <class... Policies>
void all() {
  kept<fanfare::ChannelRegistry<Policies...>>();
  callbacks<fanfare::ChannelRegistry<Policies...>>();
  queues<fanfare::ChannelRegistry<Policies...>>();
  registry<fanfare::ChannelRegistry<Policies...>>();
}

void exhausted_memory() {
  {
    fanfare::ChannelRegistry<fanfare::WithMemory<Memory>> channels;
    auto lobby = channels.subscribe("lobby");
    Memory::exhausted = true;
    EXPECT(channels.subscribe("other").error() == errc::out_of_memory);
    EXPECT(lobby.bind("e", [](const fanfare::Event&) {}).error() == errc::out_of_memory);
    Memory::exhausted = false;
    EXPECT(channels.stats().entries == 1);
  }
  EXPECT(Memory::live == 0);
}

}  // namespace

int main() {
  all<>();
  all<fanfare::SingleThreaded>();
  all<fanfare::WithMemory<Memory>>();
  exhausted_memory();
  return failures == 0 ? 0 : 1;
}
