#include <fanfare/core/event_position.hpp>

#include "support/print.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <string_view>

namespace fanfare::test {
namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

std::string text(EventId id) { return std::string(to_text(id).view()); }

struct Known {
  EventId id;
  std::string_view text;
};
class EventIdTexts : public ::testing::TestWithParam<Known> {};

TEST_P(EventIdTexts, GoBothWays) {
  EXPECT_EQ(text(GetParam().id), GetParam().text);
  EXPECT_EQ(event_id_from(GetParam().text), GetParam().id);
}
INSTANTIATE_TEST_SUITE_P(Table, EventIdTexts,
                         ::testing::Values(Known{{1, 1}, "1-00000000001"}, Known{{1, 0}, "1-00000000000"},
                                           Known{{35, 36}, "z-00000000010"}, Known{{36, 35}, "10-0000000000z"},
                                           Known{{1'700'000'000'000'000'000U, 42}, "cwyvpelgpse8-00000000016"},
                                           Known{{most, most}, "3w5e11264sgsf-3w5e11264sgsf"}));

class NoEventIds : public ::testing::TestWithParam<std::string_view> {};

TEST_P(NoEventIds, AreRefused) { EXPECT_FALSE(event_id_from(GetParam())); }
INSTANTIATE_TEST_SUITE_P(Table, NoEventIds,
                         ::testing::Values("", "-", "1", "1-", "-1", "1-1", "0-00000000001", "0-00000000000",
                                           "01-00000000001", "1-000000000001", "1-0000000001", "+1-00000000001",
                                           "1-+0000000001", "1--0000000001", "--1", " 1-00000000001", "1-00000000001 ",
                                           "1 -00000000001", "A-00000000001", "1-0000000000Z", "1.00000000001",
                                           "1-1-00000000001", "1_00000000001", "1-00000000001\n",
                                           std::string_view{"1-00000000001\0", 14},
                                           std::string_view{"1\0-00000000001", 14}, "3w5e11264sgsg-00000000001",
                                           "1-3w5e11264sgsg", "1-zzzzzzzzzzzzz", "zzzzzzzzzzzzz-00000000001",
                                           "3w5e11264sgsf-3w5e11264sgsf0", "1-\xc3\xa9"));

TEST(EventIdText, IsRefusedHoweverLong) {
  EXPECT_FALSE(event_id_from(std::string(1'000'000, '1')));
  EXPECT_FALSE(event_id_from("1-" + std::string(30, '0')));
  EXPECT_LE(EventIdText::max_size, 40U);
}

TEST(EventIdText, OfAnyIdIsReadBackAndSafe) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    const EventId id{(random() >> (random() % 64)) | 1U, random() >> (random() % 64)};
    const std::string one = text(id);
    ASSERT_LE(one.size(), EventIdText::max_size);
    ASSERT_EQ(one.find_first_not_of("0123456789abcdefghijklmnopqrstuvwxyz-"), std::string::npos) << one;
    ASSERT_EQ(event_id_from(one), id) << one;
  }
}

TEST(EventIdText, IsReadOnlyAsItIsWritten) {
  // Whatever is accepted is what would be written.
  std::mt19937 random(11);
  constexpr std::string_view characters = "0123zZaA-+ _";
  int accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::string any;
    for (std::size_t size = random() % 8; size != 0; --size) any += characters[random() % characters.size()];
    if (const std::size_t dash = any.find('-'); dash != std::string::npos && random() % 4 != 0) {
      any.insert(dash + 1, 11 - std::min<std::size_t>(any.size() - dash - 1, 11), '0');
    }
    if (const auto id = event_id_from(any)) {
      ++accepted;
      ASSERT_EQ(text(*id), any);
      ASSERT_NE(id->epoch, 0U);
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(Since, ByDefaultIsEverything) {
  EXPECT_FALSE(Since{}.resumes());
  EXPECT_TRUE(Since{}.replays());
  EXPECT_EQ(Since{}, Since{EventId{}});
  EXPECT_EQ(Since{}, Since{""});
}

TEST(Since, NamesAnEventByItsIdOrItsText) {
  for (const EventId id : {EventId{3, 0}, EventId{3, 5}, EventId{most, most}}) {
    const Since since = id;
    EXPECT_TRUE(since.resumes());
    EXPECT_TRUE(since.replays());
    EXPECT_EQ(since.id(), id);
    EXPECT_EQ(since, Since{text(id)});
    EXPECT_EQ(since, Since{text(id).c_str()});
    EXPECT_EQ(since, Since{std::string_view{text(id)}});
    EXPECT_NE(since, Since{});
  }
}

TEST(Since, ATextThatIsNoIdsIsThatOfAnUnknownEvent) {
  for (const std::string_view other : {"x", "0-00000000001", "3-5", "\xff"}) {
    EXPECT_TRUE(Since{other}.resumes()) << other;
    EXPECT_EQ(Since{other}.id(), EventId{}) << other;
  }
}

TEST(Since, NowIsNothingOfWhatIsKept) {
  EXPECT_FALSE(Since::now().resumes());
  EXPECT_FALSE(Since::now().replays());
  EXPECT_NE(Since::now(), Since{});
}

struct Standing {
  EventId seen;
  EventId floor;
  EventId last;
  Reach reach;
};
class Reaches : public ::testing::TestWithParam<Standing> {};

TEST_P(Reaches, AreJudged) {
  const Standing& one = GetParam();
  EXPECT_EQ(to_string(reach_of(one.seen, one.floor, one.last)), to_string(one.reach));
}
INSTANTIATE_TEST_SUITE_P(Table, Reaches,
                         ::testing::Values(Standing{{5, 10}, {5, 4}, {5, 10}, Reach::whole},  // it has seen all
                                           Standing{{5, 9}, {5, 4}, {5, 10}, Reach::whole},
                                           Standing{{5, 4}, {5, 4}, {5, 10}, Reach::whole},  // the first kept is next
                                           Standing{{5, 3}, {5, 4}, {5, 10}, Reach::gap},
                                           Standing{{5, 0}, {5, 4}, {5, 10}, Reach::gap},
                                           Standing{{5, 0}, {5, 0}, {5, 10}, Reach::whole},
                                           Standing{{5, 0}, {5, 0}, {5, 0}, Reach::whole},  // no event yet
                                           Standing{{5, 11}, {5, 4}, {5, 10}, Reach::ahead},
                                           Standing{{5, most}, {5, 4}, {5, 10}, Reach::ahead},
                                           Standing{{5, 10}, {5, 10}, {5, 10}, Reach::whole},  // all is gone, and seen
                                           Standing{{5, 9}, {5, 10}, {5, 10}, Reach::gap},
                                           Standing{{4, 7}, {5, 4}, {5, 10}, Reach::another_epoch},
                                           Standing{{6, 7}, {5, 4}, {5, 10}, Reach::another_epoch},
                                           Standing{{6, 99}, {5, 4}, {5, 10}, Reach::another_epoch},
                                           Standing{{0, 0}, {5, 0}, {5, 10}, Reach::another_epoch},
                                           Standing{{5, 1}, {}, {}, Reach::another_epoch}));  // nothing is known yet

TEST(Reach, HasNames) {
  EXPECT_EQ(to_string(Reach::whole), "whole");
  EXPECT_EQ(to_string(Reach::gap), "gap");
  EXPECT_EQ(to_string(Reach::another_epoch), "another_epoch");
  EXPECT_EQ(to_string(Reach::ahead), "ahead");
}

}  // namespace
}  // namespace fanfare::test
