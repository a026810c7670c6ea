#include <fanfare/pusher/socket_id.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace {

using fanfare::pusher::SocketId;

constexpr std::uint64_t most = (std::numeric_limits<std::uint64_t>::max)();

TEST(SocketId, IsReadBackAsItWasWritten) {
  for (const SocketId id :
       {SocketId{0, 0}, SocketId{1, 2}, SocketId{218, 48}, SocketId{most, 0}, SocketId{most, most}}) {
    const SocketId::Text text = id.text();
    EXPECT_LE(text.view().size(), SocketId::longest);
    EXPECT_TRUE(SocketId::well_formed(text.view()));
    EXPECT_EQ(SocketId::parse(text.view()), id) << text.view();
  }
  EXPECT_EQ((SocketId{218, 48}.text().view()), "218.48");
  EXPECT_EQ((SocketId{most, most}.text().view().size()), SocketId::longest);
}

struct Case {
  std::string_view text;
  bool well_formed;  // of another server, perhaps
};

class SocketIdTexts : public testing::TestWithParam<Case> {};

TEST_P(SocketIdTexts, ThatAreNotOurs) {
  EXPECT_EQ(SocketId::parse(GetParam().text), std::nullopt) << GetParam().text;
  EXPECT_EQ(SocketId::well_formed(GetParam().text), GetParam().well_formed) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(All, SocketIdTexts,
                         testing::Values(Case{"", false}, Case{".", false}, Case{"1", false}, Case{"1.", false},
                                         Case{".1", false}, Case{"1.2.3", false}, Case{"1..2", false},
                                         Case{"-1.2", false}, Case{"1.+2", false}, Case{" 1.2", false},
                                         Case{"1.2 ", false}, Case{"1.2\n", false}, Case{"a.b", false},
                                         Case{"0x1.2", false}, Case{"1,2", false}, Case{"01.2", true},
                                         Case{"1.00", true}, Case{"18446744073709551616.1", true},
                                         Case{"1.99999999999999999999", true},
                                         Case{"123456789012345678901.12345678901234567890", false}));

}  // namespace
