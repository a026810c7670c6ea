#include <fanfare/core/kept_bytes.hpp>

#include "support/memory.hpp"
#include "support/messages.hpp"

#include <gtest/gtest.h>

#include <string>

namespace fanfare::test {
namespace {

TEST(KeptBytes, CountAllPartsTheFrameAndTheRest) {
  MemoryLog log;
  const Messages message{log};
  EXPECT_EQ(kept_bytes(*message({1, 1}, "event", "data")), kept_message_overhead + 1 + 5 + 4);
  EXPECT_EQ(kept_bytes(*message({1, 1}, "event", "data", true)), kept_message_overhead + 1 + 5 + 4 + 4);
  errc error = errc::ok;
  const MessageOrigin origin{"user", "1.2", "3.45"};
  const MessagePtr from = MessagePtr::adopt(detail::MessageBlock<PlainAtomics, CountingMemory>::make(
      {"c", "e", "", &origin}, false, nullptr, CountingMemory{log}, error));
  EXPECT_EQ(kept_bytes(*from), kept_message_overhead + 2 + 4 + 3 + 4);
}

TEST(KeptBytes, AreNoLessThanWhatAMessageWithFourLinksTakes) {
  MemoryLog log;
  errc error = errc::ok;
  const MessagePtr message = MessagePtr::adopt(detail::MessageBlock<StdAtomics, CountingMemory>::make(
      {"channel", "event", "data", nullptr}, false, nullptr, CountingMemory{log}, error, 4));
  EXPECT_GE(kept_bytes(*message), log.live_bytes());
}

}  // namespace
}  // namespace fanfare::test
