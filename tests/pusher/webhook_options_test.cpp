#include <fanfare/pusher/webhook_options.hpp>

#include <gtest/gtest.h>

namespace fanfare::test {
namespace {

TEST(WebhookOptions, TellOfEverythingByDefaultToPublicTargetsAlone) {
  const pusher::WebhookOptions options{.targets = {{.url = "https://example.org/hook"}}};
  ASSERT_EQ(options.targets.size(), 1U);
  EXPECT_TRUE(options.targets.front().events.empty());
  EXPECT_FALSE(options.allow_private_targets);
  EXPECT_TRUE(options.batch);
}

}  // namespace
}  // namespace fanfare::test
