// Clients of a MemoryTransport, and what presence channels look like to them.
#pragma once

#include <fanfare/pusher/auth.hpp>
#include <fanfare/transport/memory.hpp>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fanfare::test {

/// `{"user_id":"ID"}`, with the info if there is one.
[[nodiscard]] inline std::string user(std::string_view id, std::string_view info = {}) {
  std::string json = R"({"user_id":")" + std::string(id) + '"';
  if (!info.empty()) json.append(R"(,"user_info":)").append(info);
  return json + '}';
}

/// An application that lets everybody in who has a key.
[[nodiscard]] inline AppOptions open_app() {
  AppOptions options{.id = "1", .key = "key", .secret = "secret"};
  options.authorize = [](const Authorization&) { return true; };
  options.user_authentication = true;
  options.client_events = true;
  options.watchlist = true;
  return options;
}

/// What a frame says: `EVENT CHANNEL DATA`, and `(USER)` behind it; without what it does not have.
[[nodiscard]] inline std::string said(std::string_view text) {
  const boost::json::object frame = boost::json::parse({text.data(), text.size()}).as_object();
  std::string all;
  for (const char* const part : {"event", "channel", "data"}) {
    const boost::json::value* const value = frame.if_contains(part);
    if (value == nullptr) continue;
    if (!all.empty()) all += ' ';
    all += value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
  }
  if (const boost::json::value* const id = frame.if_contains("user_id")) {
    all += '(';
    all += id->as_string();
    all += ')';
  }
  return all;
}

/// One client. Nothing of what it asks for happens before its transport runs.
class MemoryClient {
 public:
  using Said = std::vector<std::string>;

  explicit MemoryClient(transport::MemoryTransport& transport)
      : transport_(&transport), client_(&transport.connect("/app/key?protocol=7")) {
    EXPECT_EQ(take_raw().size(), 1U);
  }

  void send(std::string text) { client_->send(std::move(text)); }
  /// \param since   the last event that it says it has seen.
  void subscribe(std::string_view channel, std::string_view channel_data = {}, std::string_view since = {}) {
    std::string text = R"({"event":"pusher:subscribe","data":{"auth":"key:","channel":")" + std::string(channel) + '"';
    if (!channel_data.empty()) text += R"(,"channel_data":)" + quoted(channel_data);
    if (!since.empty()) text += R"(,"since":)" + quoted(since);
    send(text + "}}");
  }
  void unsubscribe(std::string_view channel) {
    send(R"({"event":"pusher:unsubscribe","data":{"channel":")" + std::string(channel) + "\"}}");
  }
  void sign_in(const std::string& user_data) {
    const std::string text = id() + "::user::" + user_data;
    send(R"({"event":"pusher:signin","data":{"auth":"key:)" + pusher::hmac_sha256_hex("secret", text) +
         R"(","user_data":)" + quoted(user_data) + "}}");
  }
  void trigger(std::string_view channel, std::string_view event, std::string_view data) {
    send(std::string(R"({"event":")")
             .append(event)
             .append(R"(","channel":")")
             .append(channel)
             .append(R"(","data":")")
             .append(data)
             .append("\"}"));
  }
  void close() { client_->close(); }

  /// What has come; behind a close nothing. The close is in `closed_with`.
  Said take() {
    Said texts;
    for (std::string& text : take_raw()) texts.push_back(said(text));
    return texts;
  }
  std::vector<std::string> take_raw() {
    std::vector<std::string> texts;
    while (std::optional<transport::MemoryMessage> message = client_->receive()) {
      EXPECT_EQ(closed_with, 0U) << message->text;
      if (message->opcode == websocket::Opcode::text) texts.push_back(std::move(message->text));
      if (message->opcode == websocket::Opcode::close) closed_with = message->code;
    }
    return texts;
  }
  /// The same after everything has happened.
  Said run() {
    transport_->run();
    return take();
  }

  [[nodiscard]] std::string id() const { return std::string(client_->socket_id().text().view()); }
  [[nodiscard]] transport::MemoryTransport::Client& end() noexcept { return *client_; }

  unsigned closed_with = 0;

 private:
  static std::string quoted(std::string_view text) {
    std::string all = "\"";
    for (const char character : text) {
      if (character == '"' || character == '\\') all += '\\';
      all += character;
    }
    return all + '"';
  }

  transport::MemoryTransport* transport_;
  transport::MemoryTransport::Client* client_;
};

/// A presence channel as a client sees it. Whatever a server must not say is a failure.
class PresenceView {
 public:
  explicit PresenceView(std::string channel, std::string me) : channel_(std::move(channel)), me_(std::move(me)) {}

  /// Takes what the client has received. \returns the data of the other events of the channel.
  std::vector<std::string> apply(const std::vector<std::string>& texts) {
    std::vector<std::string> events;
    const std::string event = R"({"event":"e","channel":")" + channel_ + R"(","data":")";
    for (const std::string& text : texts) {
      if (text.starts_with(event)) {  // most are, and JSON takes its time
        EXPECT_TRUE(inside_) << text;
        events.push_back(text.substr(event.size(), text.size() - event.size() - 2));
        continue;
      }
      const boost::json::object frame = boost::json::parse(text).as_object();
      const boost::json::value* const channel = frame.if_contains("channel");
      if (channel == nullptr || channel->as_string() != channel_) continue;
      const std::string name(frame.at("event").as_string());
      const boost::json::value* const data = frame.if_contains("data");
      if (name == "pusher_internal:subscription_succeeded") {
        enter(boost::json::parse(data->as_string()).at("presence").as_object());
        continue;
      }
      if (name == "pusher:subscription_error") {
        EXPECT_FALSE(inside_) << text;
        refused_ = true;
        continue;
      }
      EXPECT_TRUE(inside_) << text;
      if (name == "pusher_internal:member_added") {
        const std::string id(boost::json::parse(data->as_string()).at("user_id").as_string());
        EXPECT_NE(id, me_) << text;
        EXPECT_TRUE(members_.insert(id).second) << text;
        ++changes_;
      } else if (name == "pusher_internal:member_removed") {
        const std::string id(boost::json::parse(data->as_string()).at("user_id").as_string());
        EXPECT_NE(id, me_) << text;
        EXPECT_EQ(members_.erase(id), 1U) << text;
        ++changes_;
      } else {
        events.emplace_back(data == nullptr ? boost::json::string() : data->as_string());
      }
    }
    return events;
  }
  void left() {
    inside_ = refused_ = false;
    members_.clear();
  }

  [[nodiscard]] bool inside() const noexcept { return inside_; }
  [[nodiscard]] bool refused() const noexcept { return refused_; }
  [[nodiscard]] const std::set<std::string>& members() const noexcept { return members_; }
  [[nodiscard]] std::size_t changes() const noexcept { return changes_; }

 private:
  void enter(const boost::json::object& presence) {
    EXPECT_FALSE(inside_);
    inside_ = true;
    members_.clear();
    const boost::json::array& ids = presence.at("ids").as_array();
    EXPECT_EQ(presence.at("count").as_int64(), static_cast<std::int64_t>(ids.size()));
    EXPECT_EQ(presence.at("hash").as_object().size(), ids.size());
    for (const boost::json::value& id : ids) {
      EXPECT_TRUE(presence.at("hash").as_object().contains(id.as_string()));
      EXPECT_TRUE(members_.insert(std::string(id.as_string())).second);
    }
    EXPECT_TRUE(members_.contains(me_));
  }

  std::string channel_;
  std::string me_;
  std::set<std::string> members_;
  std::size_t changes_ = 0;
  bool inside_ = false;
  bool refused_ = false;
};

/// Who is present, as the application says.
[[nodiscard]] inline std::set<std::string> present(const App& app, std::string_view channel) {
  std::set<std::string> ids;
  for (const MemberPtr& member : app.members(channel)) EXPECT_TRUE(ids.insert(member->user_id).second);
  EXPECT_EQ(app.user_count(channel), ids.size());
  return ids;
}

/// What the kinds of events are called.
[[nodiscard]] inline std::string text_of(const AppEvent& event) {
  using enum AppEvent::Kind;
  switch (event.kind) {
    case channel_occupied: return "occupied " + event.channel;
    case channel_vacated: return "vacated " + event.channel;
    case member_added: return "added " + event.channel + ' ' + event.user_id;
    case member_removed: return "removed " + event.channel + ' ' + event.user_id;
    case client_event:
      return "client " + event.channel + ' ' + event.event + ' ' + event.data + '(' + event.user_id + ')';
    case cache_miss: return "miss " + event.channel;
    case event_held: return "held " + event.channel + ' ' + event.event + ' ' + std::string(to_string(event.outcome));
    case store_trouble: return "store " + event.data;
    case subscription_count: return "count " + event.channel + ' ' + std::to_string(event.count);
  }
  return "?";
}

}  // namespace fanfare::test
