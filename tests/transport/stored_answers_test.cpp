// Answers of the HTTP API that wait for the store, with a store that is slow, full, or silent.
#include <fanfare/server.hpp>

#include "support/polled_server.hpp"
#include "support/threads.hpp"
#include <fanfare/http/parser.hpp>
#include <fanfare/pusher/auth.hpp>
#include <fanfare/pusher/http_api.hpp>
#include <fanfare/store/journal.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace fanfare::test {
namespace {

using namespace std::chrono_literals;
using store::StoreError;

/// Writes nowhere: at once, when it is let, or not at all.
class Nowhere {
 public:
  [[nodiscard]] store::KeptNumbers numbers() const noexcept { return {5, 0}; }
  [[nodiscard]] StoreError reserve(std::uint64_t /*last*/) noexcept { return StoreError::ok; }
  [[nodiscard]] StoreError load(KeptVisitor& /*visitor*/) { return load_error; }
  [[nodiscard]] StoreError commit(std::span<const KeptChange> /*changes*/) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !held_; });
    return error_;
  }
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }
  void answer(StoreError error) {
    const std::lock_guard lock(mutex_);
    error_ = error;
  }
  StoreError load_error = StoreError::ok;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  StoreError error_ = StoreError::ok;
};

class StoredAnswers : public testing::Test {
 protected:
  explicit StoredAnswers(ServerOptions options = {.drain_timeout = 300ms}) : server(std::move(options), with_store()) {}
  ~StoredAnswers() override { nowhere->hold(false); }

  AppOptions with_store() {
    AppOptions app = test_app();
    app.channel_rules = {{.match = "kept-*", .history = HistoryRule{}}};
    auto made = std::make_unique<Nowhere>();
    nowhere = made.get();
    app.store = store::make_log(std::move(made));
    return app;
  }
  static std::string event(std::string_view channel) {
    std::string body = R"({"name":"e","data":"1","channel":")";
    return signed_post("/apps/1/events", body.append(channel).append("\"}"));
  }
  static std::string lookup() { return "GET /none HTTP/1.1\r\nHost: x\r\n\r\n"; }
  [[nodiscard]] static unsigned status(SocketClient& client) {
    const std::optional<HttpAnswer> answer = client.receive_answer();
    return answer ? answer->status : 0;
  }
  [[nodiscard]] static bool silent(SocketClient& client) { return !client.receive_answer(false, 50ms); }

  Nowhere* nowhere = nullptr;
  PolledServer server;
};

TEST_F(StoredAnswers, AnAnswerComesWhenTheEventIsStored) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  backend.send(event("kept-1"));
  EXPECT_EQ(status(backend), 200U) << "again on the same connection";
}

TEST_F(StoredAnswers, SubscribersAndOtherConnectionsDoNotWait) {
  SocketClient page = server.established();
  page.send_text(R"({"event":"pusher:subscribe","data":{"channel":"kept-1"}})");
  EXPECT_NE(page.receive_text().find("subscription_succeeded"), std::string::npos);
  EXPECT_NE(page.receive_text().find("replayed"), std::string::npos);
  nowhere->hold(true);
  SocketClient backend = server.client();
  backend.send(event("kept-1"));
  EXPECT_NE(page.receive_text().find(R"("event":"e")"), std::string::npos);
  SocketClient other = server.client();
  other.send(event("plain"));
  EXPECT_EQ(status(other), 200U);
  other.send(lookup());
  EXPECT_EQ(status(other), 404U);
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, AnswersOfOneConnectionKeepTheirOrder) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  std::string all;
  for (int i = 0; i < 100; ++i) all += event("kept-1") + lookup() + event("plain");
  backend.send(all);
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(status(backend), 200U) << i;
    ASSERT_EQ(status(backend), 404U) << i;
    ASSERT_EQ(status(backend), 200U) << i;
  }
}

TEST_F(StoredAnswers, ABatchIsAnsweredWhenAllOfItIsStored) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(
      signed_post("/apps/1/batch_events",
                  R"({"batch":[{"name":"e","channel":"kept-1","data":"1"},)"
                  R"({"name":"e","channel":"kept-2","data":"1"},{"name":"e","channel":"plain","data":"1"}]})"));
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, WhatTheStoreRefusesIsNotAcknowledged) {
  SocketClient backend = server.client();
  nowhere->answer(StoreError::full);
  backend.send(event("kept-1"));
  const std::optional<HttpAnswer> answer = backend.receive_answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 500U);
  EXPECT_EQ(answer->body,
            "The event was delivered, but it could not be stored: there is no room on the disk of the store\n");
  nowhere->answer(StoreError::ok);
  backend.send(event("kept-1"));
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, AClientThatHasSentAllStillGetsItsAnswer) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  backend.shutdown_write();
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_EQ(backend.receive_rest(), "");
}

TEST_F(StoredAnswers, AConnectionThatIsToEndEndsBehindTheAnswer) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  std::string last = event("kept-1");
  last.insert(last.find("Host:"), "Connection: close\r\n");
  backend.send(event("kept-1") + last + lookup());
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_EQ(backend.receive_rest(), "");
}

TEST_F(StoredAnswers, WhoGoesBeforeTheAnswerIsMissedByNobody) {
  nowhere->hold(true);
  for (int i = 0; i < 10; ++i) {
    SocketClient backend = server.client();
    backend.send(event("kept-1"));
    EXPECT_TRUE(silent(backend));
  }
  server.run();
  nowhere->hold(false);
  SocketClient backend = server.client();
  backend.send(event("kept-1"));
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, AWebSocketBeginsBehindTheAnswer) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1") + SocketClient::upgrade_request("/app/key?protocol=7"));
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_EQ(status(backend), 101U);
}

TEST_F(StoredAnswers, LeaveToSendABodyComesBehindTheAnswer) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  std::string second = event("plain");
  second.insert(second.find("Host:"), "Expect: 100-continue\r\n");
  const std::size_t body = second.find("\r\n\r\n") + 4;
  backend.send(event("kept-1") + second.substr(0, body));
  EXPECT_TRUE(silent(backend));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_EQ(status(backend), 100U);
  backend.send(second.substr(body));
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, AServerCanEndWhileAnswersWait) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  EXPECT_TRUE(silent(backend));
  std::thread later([this] {
    std::this_thread::sleep_for(50ms);
    nowhere->hold(false);
  });
  server.server.stop();
  later.join();
  backend.wait_alone();
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(StoredAnswers, AServerThatEndsClosesBehindTheLastOfThem) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1") + event("kept-1") + event("kept-1"));
  EXPECT_TRUE(silent(backend));
  std::thread later([&] {
    std::this_thread::sleep_for(50ms);
    nowhere->hold(false);
  });
  server.server.stop();
  later.join();
  backend.wait_alone();
  const std::string all = backend.receive_rest();
  std::size_t answers = 0;
  for (std::size_t at = 0; (at = all.find("HTTP/1.1 200", at)) != std::string::npos; ++at) ++answers;
  EXPECT_EQ(answers, 3U) << all;
  EXPECT_GT(all.find("Connection: close"), all.rfind("HTTP/1.1 200")) << all;
}

// A host that asks the API itself is answered when the event is stored, or is told what to wait for.
TEST_F(StoredAnswers, AHostThatAsksItselfWaitsOrIsToldForWhat) {
  http::Parser parser;
  const std::string bytes = event("kept-1");
  ASSERT_EQ(parser.feed(bytes).state, http::ParserState::complete);
  const http::Request request = parser.take();
  auto inbox = server.app.subscribe("kept-1", Inbox{16});
  nowhere->hold(true);
  std::atomic<bool> answered{false};
  Thread host([&] {
    const std::optional<http::Response> response = server.server.handle(request);
    answered = true;
    EXPECT_EQ(response.value_or(http::Response{}).status, 200U);
  });
  while (inbox.poll([](const Event& /*event*/) {}) == 0) std::this_thread::yield();
  EXPECT_FALSE(answered);

  pusher::ApiWait wait;
  pusher::Signer signer;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const http::Response response =
      server.server.api()(request, std::chrono::duration_cast<std::chrono::seconds>(now), signer, wait);
  EXPECT_EQ(response.status, 200U);
  ASSERT_TRUE(wait);
  EXPECT_EQ(wait.outcome(), KeptOutcome::pending);
  nowhere->hold(false);
  EXPECT_EQ(wait.app->wait_kept(wait.ticket), KeptOutcome::durable);
  host.join();
  EXPECT_TRUE(answered);
}

class ImpatientStoredAnswers : public StoredAnswers {
 protected:
  ImpatientStoredAnswers() : StoredAnswers({.request_timeout = 1s}) {}
};

TEST_F(ImpatientStoredAnswers, AStoreThatSaysNothingIsNotWaitedForForever) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  EXPECT_EQ(status(backend), 500U);
  backend.send(lookup());
  EXPECT_EQ(status(backend), 404U);
}

class PatientStoredAnswers : public StoredAnswers {
 protected:
  PatientStoredAnswers() : StoredAnswers({.request_timeout = 5s}) {}
};

TEST_F(PatientStoredAnswers, EachAnswerHasItsOwnTime) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  EXPECT_FALSE(backend.receive_answer(false, 3500ms));
  backend.send(event("kept-1"));
  EXPECT_EQ(status(backend), 500U);
  EXPECT_TRUE(silent(backend)) << "the younger one has not waited as long";
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
}

TEST_F(ImpatientStoredAnswers, AConnectionHasItsTimeForTheNextRequestWhenTheAnswerIsSent) {
  SocketClient backend = server.client();
  nowhere->hold(true);
  backend.send(event("kept-1"));
  EXPECT_FALSE(backend.receive_answer(false, 900ms));
  nowhere->hold(false);
  EXPECT_EQ(status(backend), 200U);
  EXPECT_FALSE(backend.receive_answer(false, 500ms)) << "it stays open";
  backend.send(lookup());
  EXPECT_EQ(status(backend), 404U);
}

TEST(StoredServer, DoesNotStartWhereTheStoreCannotBeRead) {
  Server server(PolledServer::for_tests({}));
  AppOptions app = test_app();
  auto nowhere = std::make_unique<Nowhere>();
  nowhere->load_error = StoreError::corrupt;
  app.store = store::make_log(std::move(nowhere));
  server.add_app(std::move(app));
  const ServerResult started = server.start();
  EXPECT_EQ(started.error(), ServerErrc::bad_store);
  EXPECT_EQ(started.text(), "application '1': its store: the store is damaged");
}

}  // namespace
}  // namespace fanfare::test
